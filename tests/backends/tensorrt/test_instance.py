"""The whole path of an execution against stand-ins of the driver and of TensorRT that enforce their rules."""

from pathlib import Path

import numpy as np
import pytest

from appliance.backends.base import JoiningInstance, LoadRequest
from appliance.backends.cuda.driver import Driver
from appliance.backends.engine_file import EngineFile, EngineRefused
from appliance.backends.tensorrt import graph_recordings
from appliance.backends.tensorrt.tensorrt_backend import TensorRtBackend, TensorRtModel
from appliance.errors import Failed, InvalidInput
from appliance.model.config import InstanceGroup, InstanceKind, ModelConfig
from appliance.model.engine import ShapeRange
from appliance.model.execution import ExecutionPolicy
from tests.support.stand_in_cuda import StandInCuda
from tests.support.stand_in_tensorrt import StandInEngine, StandInRtxEngine, Tensor, stand_in_tensorrt

GPU = InstanceGroup(name="m", kind=InstanceKind.GPU, count=1)
BATCHES = {"x": ShapeRange((1, 3), (4, 3), (8, 3))}


def doubling(profiles=(BATCHES,), kind=StandInEngine, **fields):
    return kind(
        [Tensor("x", (-1, 3)), Tensor("y", (-1, 3), mode="OUTPUT"), Tensor("sum", (-1, 1), mode="OUTPUT")],
        list(profiles),
        computing=lambda inputs: {"y": 2 * inputs["x"], "sum": inputs["x"].sum(axis=1, keepdims=True)},
        output_shapes=lambda shapes, values: {"y": shapes["x"], "sum": (shapes["x"][0], 1)},
        **fields,
    )


def positives():
    """y: the elements of x above zero; how many is known when they are found."""
    return StandInEngine(
        [Tensor("x", (-1, 3)), Tensor("y", (-1,), mode="OUTPUT")],
        [BATCHES],
        computing=lambda inputs: {"y": inputs["x"][inputs["x"] > 0]},
        output_shapes=lambda shapes, values: {"y": (-1,)},
    )


class Box:
    """A GPU with a loaded model."""

    def __init__(self, engine, total_bytes=1 << 24, runtime_cache=b"", device_bytes=0, **config):
        self.cuda = StandInCuda(total_bytes=total_bytes)
        request = LoadRequest(
            Path("model.onnx"),
            ModelConfig(**config),
            (GPU,),
            ExecutionPolicy.REQUIRE,
            engine=EngineFile(Path("abc.engine"), "sha256:00", engine, "auto", runtime_cache, device_bytes),
        )
        self.model = TensorRtModel(request, Driver(self.cuda), stand_in_tensorrt(self.cuda), "TensorRT 10.16")
        self.instance = self.model.create_instance(GPU)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.instance.close()
        self.model.close()
        assert self.cuda.empty


def rows(count, start=0):
    return np.arange(start, start + 3 * count, dtype=np.float32).reshape(count, 3)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_outputs_come_in_the_order_that_was_asked_for(count):
    with Box(doubling()) as box:
        total, doubled = box.instance.execute({"x": rows(count)}, ["sum", "y"])

        assert np.array_equal(doubled, 2 * rows(count))
        assert np.array_equal(total, rows(count).sum(axis=1, keepdims=True))


def test_answers_do_not_change_with_the_next_batch():
    with Box(doubling()) as box:
        (first,) = box.instance.execute({"x": rows(2)}, ["y"])
        kept = first.copy()
        box.instance.execute({"x": rows(2, start=100)}, ["y"])

        assert np.array_equal(first, kept)


def test_joined_rows_equal_single_rows():
    with Box(doubling()) as box:
        assert isinstance(box.instance, JoiningInstance)
        parts = [{"x": rows(1)}, {"x": rows(3, start=50)}, {"x": rows(2, start=9)}]
        singles = [box.instance.execute(part, ["y", "sum"]) for part in parts]
        joined = box.instance.execute_joined(parts, ["y", "sum"])

        for index, together in enumerate(joined):
            assert np.array_equal(together, np.concatenate([single[index] for single in singles]))


def test_arrays_that_begin_anywhere_are_taken():
    data = bytearray(1 + 24)
    data[1:] = rows(2).tobytes()
    with Box(doubling()) as box:
        (doubled,) = box.instance.execute({"x": np.frombuffer(data, np.float32, 6, offset=1).reshape(2, 3)}, ["y"])

        assert np.array_equal(doubled, 2 * rows(2))


@pytest.mark.parametrize("count", [0, 9])
def test_shapes_outside_of_every_profile_are_refused_with_the_range(count):
    with Box(doubling()) as box:
        with pytest.raises(InvalidInput, match=rf"'x': got shape \[{count},3\].*\[1,3\] to \[8,3\]"):
            box.instance.execute({"x": rows(count)}, ["y"])

        assert np.array_equal(box.instance.execute({"x": rows(1)}, ["y"])[0], 2 * rows(1))


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        ({}, ["y"], "inputs are .*, expected"),
        ({"x": rows(1), "z": rows(1)}, ["y"], "inputs are .*, expected"),
        ({"x": rows(1).astype(np.float64)}, ["y"], "expected FP32"),
        ({"x": rows(1)}, ["nothing"], "output 'nothing' is unknown"),
    ],
)
def test_what_does_not_fit_the_engine_is_refused(inputs, outputs, reason):
    with Box(doubling()) as box, pytest.raises(InvalidInput, match=reason):
        box.instance.execute(inputs, outputs)


def test_the_profile_changes_with_the_shape_and_back():
    small, large = {"x": ShapeRange((1, 3), (1, 3), (2, 3))}, {"x": ShapeRange((3, 3), (8, 3), (16, 3))}
    with Box(doubling([small, large])) as box:
        for count in (1, 16, 2, 3, 1):
            assert np.array_equal(box.instance.execute({"x": rows(count)}, ["y"])[0], 2 * rows(count))


def test_an_input_that_stays_the_same_is_set_again_when_another_changes_the_profile():
    def profile(rows):
        return {"x": ShapeRange((rows, 3), (rows, 3), (rows, 3)), "factor": ShapeRange((1,), (1,), (2,))}

    engine = StandInEngine(
        [Tensor("x", (-1, 3)), Tensor("factor", (-1,)), Tensor("y", (-1, 3), mode="OUTPUT")],
        [profile(1), profile(2)],
        computing=lambda inputs: {"y": inputs["x"] * inputs["factor"][0]},
        output_shapes=lambda shapes, values: {"y": shapes["x"]},
    )
    with Box(engine) as box:
        for count in (1, 2, 1):
            (found,) = box.instance.execute({"x": rows(count), "factor": np.array([3], np.float32)}, ["y"])

            assert np.array_equal(found, 3 * rows(count))


def test_outputs_whose_size_the_data_decide_grow_and_may_be_empty():
    with Box(positives()) as box:
        for data in (rows(1), rows(8), -rows(2), rows(3)):
            (found,) = box.instance.execute({"x": data}, ["y"])

            assert np.array_equal(found, data[data > 0])


def test_a_shape_that_comes_often_is_recorded_and_computes_the_same():
    with Box(doubling()) as box:
        for number in range(graph_recordings.SIGHTINGS):
            box.instance.execute({"x": rows(2, start=number)}, ["y", "sum"])
        launches = box.cuda.launches
        doubled, total = box.instance.execute({"x": rows(2, start=500)}, ["y", "sum"])
        plain = box.instance.execute({"x": rows(3)}, ["y"])
        again = box.instance.execute({"x": rows(2, start=7)}, ["y", "sum"])

        assert (box.instance.recordings, box.cuda.launches) == (1, launches + 2)
        assert np.array_equal(doubled, 2 * rows(2, start=500))
        assert np.array_equal(total, rows(2, start=500).sum(axis=1, keepdims=True))
        assert np.array_equal(plain[0], 2 * rows(3))
        assert np.array_equal(again[0], 2 * rows(2, start=7))


def test_recordings_are_bounded():
    with Box(doubling()) as box:
        for count in range(1, 9):
            for outputs in (["y"], ["sum"]):
                for _ in range(graph_recordings.SIGHTINGS):
                    box.instance.execute({"x": rows(count)}, outputs)

        assert box.instance.recordings == 8


@pytest.mark.parametrize("fault", [{"recordable": False}, {"replay_differs": True}])
def test_what_cannot_be_recorded_or_computes_something_else_stays_plain(fault, caplog):
    with Box(doubling(**fault)) as box:
        for _ in range(2 * graph_recordings.SIGHTINGS):
            (doubled,) = box.instance.execute({"x": rows(2)}, ["y"])

            assert np.array_equal(doubled, 2 * rows(2))
        assert box.instance.recordings == 0
        assert caplog.text.count("CUDA graphs are switched off") == 1


def test_graphs_can_be_switched_off_by_the_package():
    with Box(doubling(), parameters={"cuda_graphs": "0"}) as box:
        for _ in range(2 * graph_recordings.SIGHTINGS):
            box.instance.execute({"x": rows(2)}, ["y"])

        assert box.cuda.launches == 0


@pytest.mark.parametrize(("wanted", "strategy"), [("1", "WHOLE_GRAPH_CAPTURE"), ("0", "DISABLED")])
def test_tensorrt_rtx_records_graphs_itself_and_keeps_what_it_compiled(wanted, strategy):
    engine = doubling(kind=StandInRtxEngine)
    with Box(engine, runtime_cache=b"kept", parameters={"cuda_graphs": wanted}) as box:
        for _ in range(2 * graph_recordings.SIGHTINGS):
            box.instance.execute({"x": rows(2)}, ["y"])

        assert (engine.strategy, engine.kernels) == (strategy, b"kept")
        assert (box.instance.recordings, box.cuda.launches) == (0, 0)
        assert box.model.serialized_runtime_cache() == b"compiled"


def test_a_foreign_runtime_cache_only_costs_time():
    with Box(doubling(kind=StandInRtxEngine), runtime_cache=b"foreign") as box:
        assert np.array_equal(box.instance.execute({"x": rows(2)}, ["y"])[0], 2 * rows(2))


def test_running_out_of_memory_fails_that_batch_only():
    engine = doubling()
    with Box(engine) as box:
        used = box.cuda.used_bytes
        engine.enqueue_fails.append("[x.cpp::alloc::3] Error Code 2: OutOfMemory (Requested size was 8 bytes.)")
        with pytest.raises(Failed, match="out of GPU memory: OutOfMemory") as caught:
            box.instance.execute({"x": rows(2)}, ["y"])

        assert "unload a model" in caught.value.hint
        assert np.array_equal(box.instance.execute({"x": rows(2)}, ["y"])[0], 2 * rows(2))
        assert box.cuda.used_bytes == used


def test_no_memory_for_an_output_that_grows_fails_that_batch_only():
    with Box(positives(), total_bytes=1 << 16) as box:
        box.instance.execute({"x": rows(1)}, ["y"])
        box.cuda.forced["cuMemAlloc_v2"] = 2
        box.instance._shrink()
        with pytest.raises(Failed, match="CUDA_ERROR_OUT_OF_MEMORY"):
            box.instance.execute({"x": rows(8)}, ["y"])
        del box.cuda.forced["cuMemAlloc_v2"]

        assert len(box.instance.execute({"x": rows(8)}, ["y"])[0]) == 23


def test_two_instances_share_the_weights_and_not_the_buffers():
    with Box(doubling()) as box:
        second = box.model.create_instance(GPU)
        (first_answer,) = box.instance.execute({"x": rows(2)}, ["y"])
        (second_answer,) = second.execute({"x": rows(2, start=5)}, ["y"])
        second.close()
        box.model._engines[next(iter(box.model._engines))].context.enter_thread()

        assert np.array_equal(first_answer, 2 * rows(2))
        assert np.array_equal(second_answer, 2 * rows(2, start=5))


def test_an_instance_that_does_not_fit_leaves_nothing_behind():
    engine = doubling()
    with Box(engine) as box:
        used, contexts = box.cuda.used_bytes, engine.contexts
        box.cuda.forced["cuMemAlloc_v2"] = 2
        with pytest.raises(Failed, match="OUT_OF_MEMORY"):
            box.model.create_instance(GPU)
        del box.cuda.forced["cuMemAlloc_v2"]
        box.model._engines[next(iter(box.model._engines))].context.enter_thread()

        assert (box.cuda.used_bytes, engine.contexts) == (used, contexts)


def test_a_hundred_loads_give_everything_back():
    for _ in range(100):
        with Box(doubling()) as box:
            box.instance.execute({"x": rows(2)}, ["y"])


def test_a_lost_context_is_reported_and_closing_still_ends():
    box = Box(doubling())
    box.cuda.forced["cuStreamSynchronize"] = 719
    with pytest.raises(Failed, match="LAUNCH_FAILED") as caught:
        box.instance.execute({"x": rows(2)}, ["y"])
    box.instance.close()
    box.model.close()

    assert "restart" in caught.value.hint


def test_values_that_decide_over_shapes_stay_on_the_host_and_have_a_range():
    engine = StandInEngine(
        [
            Tensor("x", (-1, 3)),
            Tensor("size", (1,), kind="INT64", location="HOST"),
            Tensor("y", (-1, -1), mode="OUTPUT"),
        ],
        [BATCHES],
        computing=lambda inputs: {"y": np.repeat(inputs["x"][:, :1], inputs["size"][0], axis=1)},
        output_shapes=lambda shapes, values: {"y": (shapes["x"][0], int(values["size"][0]))},
        values={"size": ShapeRange((1,), (2,), (5,))},
    )
    with Box(engine) as box:
        for size in (5, 1, 3):
            (found,) = box.instance.execute({"x": rows(2), "size": np.array([size])}, ["y"])

            assert found.shape == (2, size)
        with pytest.raises(InvalidInput, match=r"'size': got values \[6\].*\[1\] to \[5\]"):
            box.instance.execute({"x": rows(2), "size": np.array([6])}, ["y"])
        parts = [{"x": rows(1), "size": np.array([size])} for size in (1, 2)]
        with pytest.raises(InvalidInput, match="cannot be joined"):
            box.instance.execute_joined(parts, ["y"])


def test_signature_device_and_memory_are_the_engines():
    with Box(doubling()) as box:
        assert [(each.name, each.shape) for each in box.model.signature.inputs] == [("x", (-1, 3))]
        assert [each.name for each in box.model.signature.outputs] == ["y", "sum"]
        assert box.model.device.startswith("TensorRT 10.16 on Stand-in GPU (GPU-")
        assert box.model.device_bytes == box.cuda.used_bytes > 0
        assert box.model.serialized_runtime_cache() == b""


def test_a_foreign_engine_is_refused_with_tensorrts_reason_and_leaves_nothing():
    cuda = StandInCuda()
    request = LoadRequest(
        Path("model.onnx"), ModelConfig(), (GPU,), ExecutionPolicy.REQUIRE, EngineFile(Path("abc.engine"), "", b"x")
    )

    with pytest.raises(EngineRefused, match=r"cannot load the engine: Serialization \(Version tag") as caught:
        TensorRtModel(request, Driver(cuda), stand_in_tensorrt(cuda), "TensorRT")

    assert "doctor" in caught.value.hint
    assert cuda.empty


@pytest.mark.parametrize("fault", [{"kind": "FP8"}, {"format": "CHW32"}])
def test_tensors_that_cannot_be_served_are_refused_when_the_engine_is_loaded(fault):
    engine = doubling()
    engine.tensors[1] = Tensor("y", (-1, 3), mode="OUTPUT", **fault)

    with pytest.raises(InvalidInput, match=f"output 'y'.*{next(iter(fault.values()))}"):
        Box(engine)


def test_text_is_refused_with_a_sentence():
    with pytest.raises(InvalidInput, match="TensorRT has no strings"):
        Box(doubling(), input=[{"name": "x", "data_type": "TYPE_STRING", "dims": [3]}])


def test_without_an_engine_the_command_to_build_one_is_named():
    request = LoadRequest(Path("model.onnx"), ModelConfig(), (GPU,), ExecutionPolicy.REQUIRE)

    with pytest.raises(Failed) as caught:
        TensorRtBackend().load(request)

    assert "appliance engines build" in caught.value.hint


def test_an_instance_on_the_cpu_is_refused():
    cuda = StandInCuda()
    request = LoadRequest(
        Path("m.onnx"),
        ModelConfig(),
        (InstanceGroup(name="m", kind=InstanceKind.CPU),),
        ExecutionPolicy.REQUIRE,
        EngineFile(Path("e"), "", doubling()),
    )

    with pytest.raises(InvalidInput, match="KIND_CPU"):
        TensorRtModel(request, Driver(cuda), stand_in_tensorrt(cuda), "TensorRT")


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (0, "needs 0 MiB on .* \\(for its weights alone\\)"),
        (1 << 23, "needs 8 MiB on .* \\(as measured at its last load\\)"),
    ],
)
def test_an_engine_that_cannot_fit_is_refused_before_anything_is_allocated(measured, words):
    with pytest.raises(Failed, match=words) as refused:
        Box(doubling(), total_bytes=1 << 15, device_bytes=measured)

    assert "are free" in refused.value.message
    assert "appliance status" in refused.value.hint
