"""Engines on a real GPU, against ONNX Runtime on the CPU."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from appliance.backends.base import LoadRequest
from appliance.backends.cuda.device_context import DeviceContext
from appliance.backends.cuda.driver import open_driver
from appliance.backends.cuda.gpu import free_bytes, list_gpus
from appliance.backends.cuda.memory import DeviceBuffer
from appliance.backends.engine_file import EngineFile
from appliance.backends.onnxruntime import SessionInstance, open_session, session_signature
from appliance.backends.tensorrt.flavour import choose_flavour, load_tensorrt
from appliance.backends.tensorrt.graph_recordings import SIGHTINGS
from appliance.backends.tensorrt.tensorrt_backend import TensorRtModel
from appliance.errors import ApplianceError, Failed, InvalidInput
from appliance.model.config import InstanceGroup, InstanceKind, ModelConfig
from appliance.model.datatype import Datatype
from appliance.model.engine import ShapeRange
from appliance.model.execution import ExecutionPolicy
from tests.support import onnx_models
from tests.support.tensorrt_engines import build_engine

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
GPU = InstanceGroup(name="m", kind=InstanceKind.GPU, count=1)
MIB = 1 << 20


@pytest.fixture(scope="module")
def driver():
    try:
        driver = open_driver()
    except ApplianceError as error:
        pytest.skip(f"no GPU: {error.message}")
    if not list_gpus(driver):
        pytest.skip("no GPU: the driver shows none")
    return driver


@pytest.fixture(scope="module")
def gpu(driver):
    """The first GPU, its context alive for the whole module as other models would keep it."""
    context = DeviceContext(driver, list_gpus(driver)[0])
    yield context
    context.close()


@pytest.fixture(scope="module")
def trt(gpu):
    return load_tensorrt(choose_flavour())


@pytest.fixture
def sizes_may_depend_on_data():
    if choose_flavour().name == "tensorrt-rtx":
        pytest.skip("TensorRT-RTX has no layers whose output size the data decide")


class Loaded:
    """An engine on the GPU and the same model in ONNX Runtime."""

    def __init__(self, trt, driver, model_file, profiles, **parameters):
        session = open_session(model_file)
        self.reference = SessionInstance(session, session_signature(session))
        self.names = [output.name for output in session_signature(session).outputs]
        self.data = build_engine(trt, model_file, profiles)
        self.trt, self.driver, self.parameters, self.model_file = trt, driver, parameters, model_file

    def model(self):
        file = EngineFile(self.model_file.with_suffix(".engine"), "sha256:test", self.data)
        config = ModelConfig(parameters=self.parameters)
        request = LoadRequest(self.model_file, config, (GPU,), ExecutionPolicy.REQUIRE, engine=file)
        return TensorRtModel(request, self.driver, self.trt, "TensorRT")

    def __enter__(self):
        self.loaded = self.model()
        self.instance = self.loaded.create_instance(GPU)
        return self

    def __exit__(self, *_):
        self.instance.close()
        self.loaded.close()

    def check(self, inputs, tolerance=2e-3):
        found = self.instance.execute(inputs, self.names)
        for array, expected in zip(found, self.reference.execute(inputs, self.names), strict=True):
            assert array.dtype == expected.dtype
            np.testing.assert_allclose(array, expected, rtol=tolerance, atol=tolerance)
        return found


def batches(name, row, *ranges):
    return [{name: ShapeRange(*((rows, *row) for rows in sizes))} for sizes in ranges]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.fixture(scope="module")
def cnn(trt, driver, tmp_path_factory):
    file = onnx_models.write_cnn(tmp_path_factory.mktemp("cnn") / "model.onnx")
    return Loaded(trt, driver, file, batches("INPUT0", (3, 64, 64), (1, 8, 32)))


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 32])
def test_a_convolutional_network_computes_what_onnx_runtime_does(cnn, rows):
    with cnn:
        cnn.check({"INPUT0": noise(rows, 3, 64, 64)})


def test_the_shipped_digits_model_reads_the_same_digits(trt, driver):
    file = ROOT / "models" / "digits" / "1" / "model.onnx"
    signature = session_signature(open_session(file))
    (taken,) = signature.inputs
    row = tuple(size if size > 0 else 28 for size in taken.shape[1:])
    with Loaded(trt, driver, file, batches(taken.name, row, (1, 8, 16))) as digits:
        for rows in (1, 16):
            inputs = {taken.name: noise(rows, *row, seed=rows)}
            found = digits.check(inputs, tolerance=1e-2)
            expected = digits.reference.execute(inputs, digits.names)

            assert np.array_equal(found[0].argmax(-1), expected[0].argmax(-1))


def test_each_of_several_profiles_computes_the_same(trt, driver, tmp_path):
    file = onnx_models.write_cnn(tmp_path / "model.onnx")
    profiles = batches("INPUT0", (3, 64, 64), (1, 1, 1), (2, 8, 8), (9, 16, 16))
    with Loaded(trt, driver, file, profiles) as several:
        for rows in (1, 16, 2, 9, 8, 1):
            several.check({"INPUT0": noise(rows, 3, 64, 64, seed=rows)})


def test_a_shape_outside_the_profile_is_refused_with_the_range_and_the_next_one_computed(cnn):
    with cnn:
        with pytest.raises(InvalidInput, match=r"\[33,3,64,64\].*\[1,3,64,64\] to \[32,3,64,64\]"):
            cnn.instance.execute({"INPUT0": noise(33, 3, 64, 64)}, cnn.names)

        cnn.check({"INPUT0": noise(3, 3, 64, 64)})


def test_joined_rows_equal_single_rows(cnn):
    parts = [{"INPUT0": noise(rows, 3, 64, 64, seed=rows)} for rows in (1, 4, 2)]
    with cnn:
        singles = [cnn.instance.execute(part, cnn.names)[0] for part in parts]
        (joined,) = cnn.instance.execute_joined(parts, cnn.names)

    # Another batch size may take another kernel, which adds up in another order.
    np.testing.assert_allclose(joined, np.concatenate(singles), rtol=1e-3, atol=1e-3)


def test_a_replayed_graph_equals_the_plain_execution(cnn, trt, driver):
    with cnn:
        inputs = [{"INPUT0": noise(4, 3, 64, 64, seed=seed)} for seed in range(3)]
        plain = [cnn.instance.execute(each, cnn.names)[0] for each in inputs]
        for _ in range(2 * SIGHTINGS):
            cnn.instance.execute(inputs[0], cnn.names)
        replayed = [cnn.instance.execute(each, cnn.names)[0] for each in inputs]
        others = cnn.check({"INPUT0": noise(5, 3, 64, 64)})
        again = cnn.instance.execute(inputs[1], cnn.names)[0]

        if cnn.instance._engine.records_graphs:  # TensorRT-RTX records graphs itself
            assert cnn.instance.recordings == 1
        assert others
        for found, expected in zip([*replayed, again], [*plain, plain[1]], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_two_instances_on_two_threads_give_right_answers_and_overlap(cnn, record_property):
    rounds, rows = 100, 32
    inputs = [{"INPUT0": noise(rows, 3, 64, 64, seed=seed)} for seed in range(2)]
    expected = [cnn.reference.execute(each, cnn.names)[0] for each in inputs]
    wrong = []

    def work(loaded, number, barrier):
        instance = loaded.create_instance(GPU)
        try:
            instance.execute(inputs[number], cnn.names)
            barrier.wait()
            for _ in range(rounds):
                (found,) = instance.execute(inputs[number], cnn.names)
                if not np.allclose(found, expected[number], rtol=2e-3, atol=2e-3):
                    wrong.append(number)
            barrier.wait()
        finally:
            instance.close()

    def measure(loaded, count):
        barrier = threading.Barrier(count + 1, timeout=120)
        threads = [threading.Thread(target=work, args=(loaded, number, barrier)) for number in range(count)]
        for thread in threads:
            thread.start()
        barrier.wait()
        started_s = time.monotonic()
        barrier.wait()
        took_s = time.monotonic() - started_s
        for thread in threads:
            thread.join()
        return took_s

    loaded = cnn.model()
    try:
        one_s, two_s = measure(loaded, 1), measure(loaded, 2)
    finally:
        loaded.close()

    record_property("two_instances_throughput", f"{2 * one_s / two_s:.2f} times that of one")
    assert wrong == []
    assert two_s < 2 * one_s


def test_outputs_whose_size_the_data_decide(sizes_may_depend_on_data, trt, driver, tmp_path):
    file = onnx_models.write_graph(
        tmp_path / "nonzero.onnx",
        [helper.make_node("NonZero", ["INPUT0"], ["OUTPUT0"])],
        [onnx_models.tensor("INPUT0", "FP32", ["N", 16])],
        [onnx_models.tensor("OUTPUT0", "INT64", [2, "FOUND"])],
    )
    with Loaded(trt, driver, file, batches("INPUT0", (16,), (1, 8, 64))) as found:
        for data in (noise(1, 16), np.zeros((4, 16), np.float32), noise(64, 16), np.eye(16, dtype=np.float32)):
            found.check({"INPUT0": data})


@pytest.mark.parametrize("datatype", ["FP16", "INT32", "INT64", "BOOL", "UINT8", "BF16"])
def test_types_pass_through_unchanged(trt, driver, tmp_path, datatype):
    file = onnx_models.write_identity(tmp_path / "identity.onnx", datatype, [5])
    dtype = Datatype.parse(datatype).numpy
    with Loaded(trt, driver, file, batches("INPUT0", (5,), (1, 2, 4))) as identity:
        data = np.arange(-10, 10).reshape(4, 5).astype(dtype)
        (found,) = identity.instance.execute({"INPUT0": data}, ["OUTPUT0"])

    assert found.dtype == dtype
    assert np.array_equal(found, data)


def test_a_hundred_loads_and_unloads_give_the_memory_back(cnn, gpu, driver, record_property):
    def cycle():
        with cnn:
            cnn.instance.execute({"INPUT0": noise(8, 3, 64, 64)}, cnn.names)

    def free():
        with gpu.current():
            return free_bytes(driver, gpu.gpu)

    for _ in range(5):  # libraries load their kernels, which stay
        cycle()
    before = free()
    for _ in range(100):
        cycle()

    record_property("lost_bytes", before - free())
    assert before - free() < 16 * MIB


def test_an_engine_that_does_not_fit_fails_and_leaves_room_for_others(cnn, gpu, driver):
    with gpu.current():
        hoard = []
        size = 1 << 30
        while size > MIB:
            try:
                hoard.append(DeviceBuffer(driver, size))
            except Failed:
                size //= 2
    try:
        with pytest.raises(Failed) as caught, cnn:
            pass
    finally:
        with gpu.current():
            for buffer in hoard:
                buffer.close()

    assert "memory" in str(caught.value)
    with cnn:
        cnn.check({"INPUT0": noise(2, 3, 64, 64)})


def test_running_out_of_memory_in_a_batch_fails_that_batch_only(sizes_may_depend_on_data, trt, driver, gpu, tmp_path):
    width = 1 << 20
    file = onnx_models.write_graph(
        tmp_path / "nonzero.onnx",
        [helper.make_node("NonZero", ["INPUT0"], ["OUTPUT0"])],
        [onnx_models.tensor("INPUT0", "FP32", ["N", width])],
        [onnx_models.tensor("OUTPUT0", "INT64", [2, "FOUND"])],
    )
    small, large = np.zeros((1, width), np.float32), np.ones((16, width), np.float32)
    small[0, :3] = 1
    with Loaded(trt, driver, file, batches("INPUT0", (width,), (1, 16, 16))) as found:
        found.check({"INPUT0": small})
        hoard, size = [], 1 << 30
        while size > 16 * MIB:
            try:
                hoard.append(DeviceBuffer(driver, size))
            except Failed:
                size //= 2
        try:
            with pytest.raises(Failed, match=r"(?i)memory"):
                found.instance.execute({"INPUT0": large}, found.names)  # its answer has 256 MiB
        finally:
            for buffer in hoard:
                buffer.close()

        found.check({"INPUT0": small})
        found.check({"INPUT0": large})
