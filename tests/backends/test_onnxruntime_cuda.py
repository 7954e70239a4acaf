"""ONNX Runtime on a GPU, as far as a machine without one can show it."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from appliance.backends.base import JoiningInstance, LoadRequest
from appliance.backends.cuda.device_context import DeviceContext
from appliance.backends.cuda.driver import Driver
from appliance.backends.cuda.gpu import list_gpus
from appliance.backends.onnx_reasons import is_lack_of_memory
from appliance.backends.onnxruntime import (
    OnnxRuntimeBackend,
    _checked_operators,
    _execution_error,
    _frugal_options,
    open_session,
    session_signature,
)
from appliance.backends.onnxruntime_cuda import CudaSessionInstance
from appliance.backends.onnxruntime_placement import CPU, CUDA, cuda_options, place
from appliance.backends.operator_placement import judge_placement
from appliance.errors import Failed, InvalidInput
from appliance.model.config import InstanceGroup, InstanceKind, ModelConfig
from appliance.model.execution import ExecutionPolicy
from tests.support import onnx_models
from tests.support.stand_in_cuda import StandInCuda

GPU = InstanceGroup(kind=InstanceKind.GPU)


def request(group=GPU, execution=ExecutionPolicy.REQUIRE, model=Path("model.onnx"), **parameters):
    return LoadRequest(model, ModelConfig(parameters=parameters), (group,), execution)


def test_a_required_gpu_without_a_driver_fails_with_the_reason_and_a_remedy():
    with pytest.raises(Failed, match="KIND_GPU is required, but no NVIDIA driver") as caught:
        place(GPU, request(), [CUDA, CPU])

    assert "driver" in caught.value.hint


def test_a_wheel_without_cuda_is_named():
    with pytest.raises(Failed, match="no CUDA provider") as caught:
        place(GPU, request(), [CPU])

    assert "appliance[gpu]" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "execution"),
    [(InstanceKind.GPU, ExecutionPolicy.PREFER), (InstanceKind.AUTO, ExecutionPolicy.REQUIRE)],
)
def test_a_gpu_that_is_only_preferred_becomes_the_cpu_and_says_why(kind, execution):
    placement = place(InstanceGroup(kind=kind), request(execution=execution), [CUDA, CPU])

    assert placement.providers == (CPU,)
    assert placement.note.startswith("runs on the CPU: no NVIDIA driver")


@pytest.fixture
def two_gpus():
    return Driver(StandInCuda(gpus=2))


def test_the_gpu_is_chosen_by_uuid_and_given_to_onnx_runtime_by_number(two_gpus):
    wanted = LoadRequest(
        Path("m.onnx"), ModelConfig(), (GPU,), ExecutionPolicy.REQUIRE, gpu_uuid=list_gpus(two_gpus)[1].uuid
    )
    placement = place(GPU, wanted, [CUDA, CPU], lambda: two_gpus)

    (provider, options), fallback = placement.providers
    assert (provider, fallback) == (CUDA, CPU)
    assert ("device_id", "1") in options
    assert ("arena_extend_strategy", "kSameAsRequested") in options
    assert wanted.gpu_uuid in placement.device


def test_a_gpu_number_that_does_not_exist_is_the_configurations_fault(two_gpus):
    with pytest.raises(InvalidInput, match="GPU 5"):
        place(InstanceGroup(kind=InstanceKind.AUTO, gpus=(5,)), request(), [CUDA, CPU], lambda: two_gpus)


def test_fp32_is_fp32_unless_the_package_says_otherwise():
    assert dict(cuda_options(request().config))["use_tf32"] == "0"
    assert dict(cuda_options(request(allow_tf32="1").config))["use_tf32"] == "1"


def test_memory_limit_and_convolution_search_come_from_the_package():
    config = request(gpu_memory_limit_bytes="1000000", cudnn_conv_algo_search="exhaustive").config

    assert dict(cuda_options(config)) == {
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": "1000000",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "use_tf32": "0",
    }


@pytest.mark.parametrize(
    "parameters",
    [{"gpu_memory_limit_bytes": "2 GB"}, {"gpu_memory_limit_bytes": "0"}, {"cudnn_conv_algo_search": "x"}],
)
def test_parameters_that_make_no_sense_are_refused(parameters):
    with pytest.raises(InvalidInput, match=next(iter(parameters))):
        cuda_options(request(**parameters).config)


def test_a_model_for_which_the_gpu_cannot_be_had_loads_on_the_cpu_with_a_note(tmp_path):
    model = onnx_models.write_add_sub(tmp_path / "model.onnx")
    loaded = OnnxRuntimeBackend().load(request(model=model, execution=ExecutionPolicy.PREFER))

    assert loaded.device == CPU
    assert loaded.device_note.startswith("runs on the CPU: this onnxruntime has no CUDA provider")
    loaded.close()


def test_operators_on_shapes_may_stay_on_the_cpu():
    counts = {CUDA: {"Conv": 5}, CPU: {"Shape": 2, "Gather": 1}}

    assert judge_placement(counts, CUDA, CPU).note == ""


def test_operators_without_a_kernel_are_told_and_heavy_ones_named():
    verdict = judge_placement({CUDA: {"Relu": 5}, CPU: {"QLinearConv": 4, "Unique": 1, "Shape": 1}}, CUDA, CPU)

    assert verdict.heavy == ("QLinearConv",)
    assert verdict.note.startswith("5 of 11 operators run on the CPU")
    assert "4 QLinearConv, 1 Unique" in verdict.note


def test_what_onnx_runtime_reports_about_operators_is_understood(tmp_path):
    # With an empty list of options the CPU stands in for a GPU: operators are recorded as they are there.
    session = open_session(onnx_models.write_cnn(tmp_path / "model.onnx"), providers=[(CPU, {})])

    with pytest.raises(Failed, match=r"CUDA cannot compute .*Conv") as caught:
        _checked_operators(session)

    assert "KIND_CPU" in caught.value.hint


@pytest.fixture
def bound(tmp_path):
    """The instance for GPUs on a CPU session: the binding by address is the same."""
    library = StandInCuda()
    driver = Driver(library)
    session = open_session(onnx_models.write_mlp(tmp_path / "model.onnx", widths=(16, 8, 4)))
    context = DeviceContext(driver, list_gpus(driver)[0])
    instance = CudaSessionInstance(
        session, session_signature(session), context, partial(_frugal_options, 0), _execution_error
    )
    yield instance, session
    instance.close()
    context.close()
    assert library.empty


def test_rows_joined_in_page_locked_memory_compute_what_single_requests_do(bound):
    instance, session = bound
    random = np.random.default_rng(1)
    parts = [{"INPUT0": random.standard_normal((rows, 16), dtype=np.float32)} for rows in (1, 5, 2)]
    (joined,) = instance.execute_joined(parts, ["OUTPUT0"])

    assert isinstance(instance, JoiningInstance)
    expected = session.run(["OUTPUT0"], {"INPUT0": np.concatenate([part["INPUT0"] for part in parts])})[0]
    assert np.array_equal(joined, expected)


def test_answers_of_a_bound_session_survive_the_next_batch_of_another_size(bound):
    instance, _ = bound
    (first,) = instance.execute({"INPUT0": np.ones((2, 16), np.float32)}, ["OUTPUT0"])
    kept = first.copy()
    for rows in (2, 64, 1):
        instance.execute({"INPUT0": np.full((rows, 16), rows, np.float32)}, ["OUTPUT0"])

    assert np.array_equal(first, kept)


def test_a_bound_session_refuses_what_does_not_fit(bound):
    instance, _ = bound
    with pytest.raises(InvalidInput, match="expected FP32"):
        instance.execute({"INPUT0": np.ones((2, 16))}, ["OUTPUT0"])
    with pytest.raises(InvalidInput, match="the model refuses the data"):
        instance.execute({"INPUT0": np.ones((2, 17), np.float32)}, ["OUTPUT0"])

    assert instance.execute({"INPUT0": np.ones((2, 16), np.float32)}, ["OUTPUT0"])[0].shape == (2, 4)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=box",
        "Failed to allocate memory for requested buffer of size 1048576",
        "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_lack_of_gpu_memory_is_recognised_and_fails_that_batch(text):
    error = _execution_error(RuntimeError(text))

    assert is_lack_of_memory(text)
    assert isinstance(error, Failed)
    assert error.message.startswith("out of memory")
