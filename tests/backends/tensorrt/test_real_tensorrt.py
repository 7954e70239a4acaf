"""What of the adapter the real TensorRT-RTX can show without a GPU."""

import mmap

import pytest

from appliance.backends.cuda.driver import Driver
from appliance.backends.tensorrt.engine_layout import EngineTensor
from appliance.backends.tensorrt.engine_log import EngineLog
from appliance.backends.tensorrt.growing_output import GrowingOutput, output_allocator
from appliance.model.datatype import Datatype
from appliance.model.engine import ShapeRange
from tests.support import onnx_models
from tests.support.stand_in_cuda import StandInCuda
from tests.support.tensorrt_engines import build_engine

trt = pytest.importorskip("tensorrt_rtx")


def test_a_damaged_engine_in_a_mapping_is_refused_with_the_reason_that_was_logged(tmp_path):
    file = tmp_path / "damaged.engine"
    file.write_bytes(b"not an engine" * 1000)
    log = EngineLog(trt)
    runtime = trt.Runtime(log.sink)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert runtime.deserialize_cuda_engine(data) is None

    failure = log.failure("TensorRT cannot load the engine")
    assert "it gives no reason" not in failure.message
    assert len(failure.message) > len("TensorRT cannot load the engine: ")
    assert "it gives no reason" in log.failure("again").message


def test_an_output_allocator_is_one_of_tensorrts():
    output = GrowingOutput(Driver(StandInCuda()), EngineTensor("y", Datatype.FP32, (-1,)))
    allocator = output_allocator(trt, output)
    allocator.notify_shape("y", trt.Dims((3, 2)))

    assert isinstance(allocator, trt.IOutputAllocator)
    assert output.shape == (3, 2)


def test_memory_that_is_not_there_is_told_to_tensorrt_without_an_exception():
    output = GrowingOutput(Driver(StandInCuda()), EngineTensor("y", Datatype.FP32, (-1,)))

    # On this thread no context is current.
    assert output_allocator(trt, output).reallocate_output_async("y", 0, 16, 256, 0) == 0
    assert output.error is not None


@pytest.mark.parametrize("datatype", ["FP32", "FP16", "BF16", "INT8", "UINT8", "INT32", "INT64", "BOOL"])
def test_engines_of_every_type_of_the_adapter_can_be_built(tmp_path, datatype):
    file = onnx_models.write_identity(tmp_path / "identity.onnx", datatype, [5])
    profile = {"INPUT0": ShapeRange((1, 5), (2, 5), (4, 5))}

    assert len(build_engine(trt, file, [profile], compute_capability="8.9")) > 1000


def test_an_engine_with_several_profiles_can_be_built(tmp_path):
    file = onnx_models.write_cnn(tmp_path / "model.onnx")
    profiles = [
        {"INPUT0": ShapeRange(*((rows, 3, 64, 64) for rows in sizes))}
        for sizes in ((1, 1, 1), (2, 8, 8), (9, 16, 16))
    ]

    assert len(build_engine(trt, file, profiles, compute_capability="12.0")) > 1000
