"""What all echoes claim to serve, and how they are started alike. Knows no gRPC: the echoes bring different ones."""

from dataclasses import dataclass
from math import prod

from appliance.model.pb import model_config_pb2
from appliance.rpc.pb import grpc_service_pb2 as pb

SERVICE = "inference.GRPCInferenceService"
INPUT, OUTPUT = "INPUT0", "OUTPUT0"  # as long as the daemon's
MAX_MESSAGE_BYTES = 256 * 1024 * 1024  # the daemon's default
# glibc maps and unmaps every block above a threshold, which doubles what a 602 KB message costs, until the first
# large block is freed; then the threshold grows. The daemon has loaded models, so the bare echo, a floor, gets
# the same start; the echo through protobuf objects is measured both as people write it and with that start.
LARGE_BLOCK_BYTES = 24 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class EchoedModel:
    """The one model that the echo claims to have; dims are without the batch dimension."""

    name: str
    input_dims: tuple[int, ...]
    output_dims: tuple[int, ...]
    max_batch_size: int

    def metadata(self) -> bytes:
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=self.name,
            versions=["1"],
            platform="onnxruntime_onnx",
            inputs=[tensor(name=INPUT, datatype="FP32", shape=[-1, *self.input_dims])],
            outputs=[tensor(name=OUTPUT, datatype="FP32", shape=[-1, *self.output_dims])],
        ).SerializeToString()

    def config(self) -> bytes:
        fp32 = model_config_pb2.TYPE_FP32
        return pb.ModelConfigResponse(
            config=model_config_pb2.ModelConfig(
                name=self.name,
                platform="onnxruntime_onnx",
                max_batch_size=self.max_batch_size,
                input=[model_config_pb2.ModelInput(name=INPUT, data_type=fp32, dims=self.input_dims)],
                output=[model_config_pb2.ModelOutput(name=OUTPUT, data_type=fp32, dims=self.output_dims)],
            )
        ).SerializeToString()

    def response(self) -> pb.ModelInferResponse:
        output = pb.ModelInferResponse.InferOutputTensor(name=OUTPUT, datatype="FP32", shape=[1, *self.output_dims])
        return pb.ModelInferResponse(
            model_name=self.name,
            model_version="1",
            outputs=[output],
            raw_output_contents=[bytes(4 * prod(self.output_dims))],
        )


def dims(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))
