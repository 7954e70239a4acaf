"""Shape profiles as packages write them, and as the network needs them."""

import pytest

from appliance.backends.tensorrt.profiles import complete_profiles, largest_batch, written_profiles
from appliance.errors import InvalidInput
from appliance.model.config import ModelConfig
from appliance.model.engine import ShapeRange


def config(smallest="", usual="", largest="", **more):
    bounds = {"min": smallest, "opt": usual, "max": largest}
    return ModelConfig(
        parameters={f"trt_profile_{name}_shapes": text for name, text in bounds.items() if text}, **more
    )


def test_no_parameter_is_no_profile():
    assert written_profiles(config()) == ()


def test_one_profile_of_several_inputs():
    found = written_profiles(config("a:1x3,b:1x5x7", "a:4x3,b:4x5x7", " a:8x3 , b:8x5x7 "))

    assert found == ({"a": ShapeRange((1, 3), (4, 3), (8, 3)), "b": ShapeRange((1, 5, 7), (4, 5, 7), (8, 5, 7))},)


def test_a_name_that_stands_there_twice_has_two_profiles():
    found = written_profiles(config("x:1x3,x:9x3", "x:4x3,x:16x3", "x:8x3,x:32x3"))

    assert found == ({"x": ShapeRange((1, 3), (4, 3), (8, 3))}, {"x": ShapeRange((9, 3), (16, 3), (32, 3))})


def test_a_name_may_hold_colons():
    assert list(written_profiles(config("in:0:1x3", "in:0:1x3", "in:0:1x3"))[0]) == ["in:0"]


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (("x:1x3", "x:4x3", ""), "'x': found 1 in min, 1 in opt, 0 in max, expected as many in each"),
        (
            ("x:1,x:2,y:1", "x:1,x:2,y:1", "x:1,x:2,y:1"),
            "found 2 for 'x', 1 for 'y', expected as many for each input",
        ),
        (("x:8x3", "x:4x3", "x:8x3"), "expected min <= opt <= max in every dimension"),
        (("x:1x3", "x:4", "x:8x3"), "expected min <= opt <= max in every dimension"),
        (("x", "x", "x"), "trt_profile_min_shapes: found 'x', expected name:1x3x224x224"),
        (("x:1x-3", "x:1x3", "x:1x3"), "found 'x:1x-3'"),
        (("x:99999999999", "x:1", "x:1"), "found 'x:99999999999'"),
        (("x:2147483648", "x:1", "x:1"), "found 'x:2147483648'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_fault(bounds, words):
    with pytest.raises(InvalidInput) as refused:
        written_profiles(config(*bounds))

    assert words in refused.value.message
    assert "trt_profile_{min,opt,max}_shapes" in refused.value.hint


def test_a_free_batch_axis_goes_up_to_the_largest_batch():
    assert complete_profiles({"x": (-1, 3)}, (), 64) == [{"x": ShapeRange((1, 3), (8, 3), (64, 3))}]
    assert complete_profiles({"x": (-1, 3)}, (), 2) == [{"x": ShapeRange((1, 3), (2, 3), (2, 3))}]


def test_inputs_of_fixed_shape_need_no_profile():
    assert complete_profiles({"x": (4, 3)}, (), 8) == []


def test_what_is_not_written_is_added_to_every_profile():
    one, two = ({"a": ShapeRange((rows, 3), (rows, 3), (rows, 3))} for rows in (1, 5))

    found = complete_profiles({"a": (-1, 3), "b": (-1, 2), "fixed": (7,)}, (one, two), 4)

    batch = ShapeRange((1, 2), (4, 2), (4, 2))
    assert found == [{**one, "b": batch}, {**two, "b": batch}]


@pytest.mark.parametrize(
    ("shape", "rows"), [((-1, 3), 0), ((-1, -1), 8), ((4, -1), 8)], ids=["no batch axis", "text", "fixed rows"]
)
def test_sizes_that_nobody_named_are_asked_for(shape, rows):
    with pytest.raises(InvalidInput, match=r"input 'x' has shape .*: for which sizes"):
        complete_profiles({"x": shape}, (), rows)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"y": (-1, 3)}, "name input 'x', but the model has ['y']"),
        ({"x": (-1, 4)}, "'x': found [1,3], the model has [-1,4]"),
        ({"x": (-1, 3, 1)}, "'x': found [1,3], the model has [-1,3,1]"),
    ],
)
def test_profiles_of_another_model_are_refused(inputs, words):
    with pytest.raises(InvalidInput) as refused:
        complete_profiles(inputs, ({"x": ShapeRange((1, 3), (4, 3), (8, 3))},), 8)

    assert words in refused.value.message


@pytest.mark.parametrize(("written", "expected"), [(None, 4), (0, 0), (64, 64)])
def test_the_largest_batch_is_that_of_the_configuration(written, expected):
    assert largest_batch(ModelConfig(max_batch_size=written)) == expected
