"""Where tensors lie, and how rows come there."""

import numpy as np
import pytest

from appliance.backends.cuda.buffer_plan import plan_buffer
from appliance.backends.row_joining import joined_shapes, write_joined
from appliance.backends.tensorrt.engine_datatypes import datatype_of_engine_type
from appliance.backends.tensorrt.engine_layout import EngineLayout, EngineProfile, EngineTensor
from appliance.backends.tensorrt.shape_sightings import ShapeSightings
from appliance.backends.tensorrt.tensor_sizes import changed, input_bytes
from appliance.backends.tensorrt.tensorrt_reasons import is_lack_of_memory, short_reason
from appliance.errors import InvalidInput
from appliance.model.datatype import Datatype
from appliance.model.engine import ShapeRange

X = EngineTensor("x", Datatype.FP32, (-1, 2))


def test_tensors_are_aligned_and_do_not_overlap():
    plan = plan_buffer({"a": 1, "b": 300, "empty": 0, "c": 256})

    assert plan.offsets == {"a": 0, "b": 256, "empty": 768, "c": 1024}
    assert plan.total_bytes == 1280


def test_inputs_are_as_large_as_the_largest_profile():
    profiles = tuple(EngineProfile({"x": ShapeRange((1, 2), (rows, 2), (rows, 2))}, {}) for rows in (4, 16, 8))

    assert input_bytes(EngineLayout((X,), (), profiles)) == {"x": 16 * 2 * 4}


def test_only_shapes_that_differ_are_set_again():
    assert changed({"a": (1,), "b": (2,)}, {"a": (1,), "b": (3,)}) == ["b"]


@pytest.mark.parametrize(
    ("name", "datatype"),
    [
        ("FLOAT", Datatype.FP32),
        ("HALF", Datatype.FP16),
        ("BF16", Datatype.BF16),
        ("INT8", Datatype.INT8),
        ("INT32", Datatype.INT32),
        ("INT64", Datatype.INT64),
        ("BOOL", Datatype.BOOL),
        ("UINT8", Datatype.UINT8),
        ("FP8", None),
        ("INT4", None),
    ],
)
def test_types_have_the_protocols_names(name, datatype):
    assert datatype_of_engine_type(name) is datatype


def test_every_type_of_the_installed_tensorrt_is_mapped_or_refused_with_its_size():
    trt = pytest.importorskip("tensorrt_rtx")

    for name, kind in trt.DataType.__members__.items():
        datatype = datatype_of_engine_type(name)
        if datatype is not None:
            assert datatype.size_bytes == kind.itemsize, name


def test_rows_lie_one_after_the_other():
    arrays = [np.full((rows, 2), rows, np.float32) for rows in (1, 3)]
    target = np.zeros((4, 2), np.float32)
    write_joined(arrays, target)

    assert joined_shapes([{"x": array} for array in arrays], {"x": Datatype.FP32}) == {"x": (4, 2)}
    assert np.array_equal(target, np.concatenate(arrays))


@pytest.mark.parametrize(
    "parts",
    [
        [{"x": np.zeros((1, 2), np.float32)}, {"x": np.zeros((1, 3), np.float32)}],
        [{"x": np.zeros((1, 2), np.float32)}, {"x": np.zeros((), np.float32)}],
        [{"x": np.zeros((1, 2), np.float32)}, {"x": np.zeros((1, 2), np.float64)}],
        [{"x": np.zeros((1, 2), np.float32)}, {}],
    ],
)
def test_parts_that_do_not_fit_together_are_refused(parts):
    with pytest.raises(InvalidInput):
        joined_shapes(parts, {"x": Datatype.FP32})


def test_a_form_is_recorded_once_in_so_many_sightings_and_memory_stays_bounded():
    sightings = ShapeSightings(3)

    assert [sightings.often_enough("a") for _ in range(6)] == [False, False, True, False, False, True]
    assert not any(sightings.often_enough(number) for number in range(10_000))
    assert len(sightings._counts) <= 256


def test_reasons_are_one_line_without_source_positions():
    message = "[executionContext.cpp::enqueueV3::2851] Error Code 7: Internal Error (shapes\n differ)"

    assert short_reason(["IRuntime::deserializeCudaEngine: Error Code 1: Broken", message, message]) == (
        "Broken; Internal Error (shapes differ)"
    )
    assert short_reason([]) == "it gives no reason"
    assert len(short_reason(["x" * 1000])) == 300


@pytest.mark.parametrize(
    "message",
    [
        "Error Code 2: OutOfMemory (Requested size was 8589934592 bytes.)",
        "Error Code 1: Cuda Runtime (out of memory)",
        "std::bad_alloc",
    ],
)
def test_lack_of_memory_is_recognised(message):
    assert is_lack_of_memory([message])
    assert not is_lack_of_memory(["Error Code 3: API Usage Error"])
