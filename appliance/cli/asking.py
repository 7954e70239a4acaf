"""One inference as the command line asks for it: arrays go in, arrays and best classes come out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.cli.client import InferenceClient
from appliance.cli.tensor_files import WantedTensor
from appliance.errors import Failed, InvalidInput
from appliance.model.datatype import Datatype
from appliance.model.tensor import decode_bytes, element_count, encode_bytes
from appliance.rpc.pb import grpc_service_pb2 as pb

Array = npt.NDArray[Any]

_NOT_CLASSIFIED = (Datatype.BYTES, Datatype.BOOL, Datatype.FP16, Datatype.BF16)


@dataclass(frozen=True, slots=True)
class ServedSignature:
    """What a served model takes and gives. `labelled`: outputs whose classes have names."""

    name: str
    version: str  # as asked for; '' is the default
    inputs: Mapping[str, WantedTensor]
    outputs: Mapping[str, WantedTensor]
    labelled: tuple[str, ...]
    digest: str  # of the package, '' if it does not come from a registry


@dataclass(frozen=True, slots=True)
class Answer:
    """Arrays by output name, with the version that ran."""

    version: str
    arrays: Mapping[str, Array]
    datatypes: Mapping[str, Datatype]


@dataclass(frozen=True, slots=True)
class RankedClass:
    """One entry of the classification extension; `label` is '' if the class has no name."""

    value: float
    index: int
    label: str


def served_signature(client: InferenceClient, name: str, version: str) -> ServedSignature:
    """Ask what a model takes and gives. Raises NotFound, Busy."""
    metadata = client.metadata(name, version)
    config = client.config(name, version).config
    batched = config.max_batch_size > 0
    last = {tensor.name for tensor in config.input if tensor.format == tensor.FORMAT_NHWC}
    outputs = _tensors(metadata.outputs, frozenset(), batched=batched)
    labelled = [tensor.name for tensor in config.output if tensor.label_filename]
    return ServedSignature(
        name=name,
        version=version,
        inputs=_tensors(metadata.inputs, frozenset(last), batched=batched),
        outputs=outputs,
        labelled=tuple(output for output in labelled if outputs[output].datatype not in _NOT_CLASSIFIED),
        digest=config.parameters["digest"].string_value if "digest" in config.parameters else "",
    )


def ask(
    client: InferenceClient,
    model: ServedSignature,
    inputs: Mapping[str, Array],
    *,
    outputs: Sequence[str] = (),
    top: Mapping[str, int] | None = None,
    timeout_s: float,
) -> Answer:
    """Run the model once. `top`: outputs that shall come as that many best classes. Raises an ApplianceError."""
    request = pb.ModelInferRequest(model_name=model.name, model_version=model.version)
    for name, array in inputs.items():
        datatype = model.inputs[name].datatype
        request.inputs.add(name=name, datatype=datatype.wire_name, shape=array.shape)
        request.raw_input_contents.append(encode_bytes(array) if datatype is Datatype.BYTES else array.tobytes())
    for name in outputs or (model.outputs if top else ()):
        wanted = request.outputs.add(name=name)
        if top and name in top:
            wanted.parameters["classification"].int64_param = top[name]
    return _answer(client.infer(request, timeout_s))


def ranked_classes(entries: Array) -> list[list[RankedClass]]:
    """Read `<value>:<index>[:<label>]`, one list for each row."""
    rows = entries.reshape(-1, entries.shape[-1])
    return [[_ranked_class(entry.decode(errors="replace")) for entry in row] for row in rows]


def _ranked_class(text: str) -> RankedClass:
    value, index, *label = text.split(":", 2)
    return RankedClass(float(value), int(index), label[0] if label else "")


def _tensors(
    described: Sequence[pb.ModelMetadataResponse.TensorMetadata], last: frozenset[str], *, batched: bool
) -> dict[str, WantedTensor]:
    return {
        tensor.name: WantedTensor(
            tensor.name,
            Datatype.parse(tensor.datatype),
            tuple(tensor.shape[1:] if batched else tensor.shape),
            batched,
            tensor.name in last,
        )
        for tensor in described
    }


def _answer(response: pb.ModelInferResponse) -> Answer:
    arrays, datatypes = {}, {}
    if len(response.raw_output_contents) != len(response.outputs):
        raise Failed(
            f"the answer has {len(response.outputs)} outputs, but data for {len(response.raw_output_contents)}"
        )
    for output, data in zip(response.outputs, response.raw_output_contents, strict=True):
        datatypes[output.name] = Datatype.parse(output.datatype)
        arrays[output.name] = _array(output, data)
    return Answer(response.model_version, arrays, datatypes)


def _array(output: pb.ModelInferResponse.InferOutputTensor, data: bytes) -> Array:
    datatype, shape = Datatype.parse(output.datatype), tuple(output.shape)
    try:
        if datatype is Datatype.BYTES:
            return decode_bytes(memoryview(data), element_count(shape), f"output '{output.name}'").reshape(shape)
        return np.frombuffer(data, datatype.numpy).reshape(shape)
    except (InvalidInput, ValueError) as error:
        raise Failed(f"the data of output '{output.name}' are not what its header says: {error}") from error
