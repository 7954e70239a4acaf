"""Which profile computes a request, and what is said when none does."""

import re

import pytest

from appliance.backends.tensorrt.engine_layout import EngineProfile
from appliance.backends.tensorrt.profile_choice import check_values, choose_profile
from appliance.errors import InvalidInput
from appliance.model.engine import ShapeRange


def profile(**shapes):
    return EngineProfile({name: ShapeRange(*ranges) for name, ranges in shapes.items()}, {})


ONE = profile(x=((1, 3), (1, 3), (1, 3)))
FEW = profile(x=((1, 3), (4, 3), (8, 3)))
MANY = profile(x=((1, 3), (32, 3), (64, 3)))


@pytest.mark.parametrize(("rows", "chosen"), [(1, 0), (2, 1), (8, 1), (9, 2), (64, 2)])
def test_the_profile_whose_usual_size_is_nearest_computes(rows, chosen):
    assert choose_profile([ONE, FEW, MANY], {"x": (rows, 3)}) == chosen


def test_of_two_equal_profiles_the_first_computes():
    assert choose_profile([FEW, FEW], {"x": (4, 3)}) == 0


@pytest.mark.parametrize("shape", [(65, 3), (0, 3), (1, 4), (1,), (1, 3, 1)])
def test_a_shape_outside_is_refused_with_every_range(shape):
    with pytest.raises(InvalidInput) as caught:
        choose_profile([FEW, MANY], {"x": shape})

    written = "[" + ",".join(map(str, shape)) + "]"
    expected = f"input 'x': got shape {written}, this engine takes [1,3] to [8,3] or [1,3] to [64,3]"
    assert caught.value.message == expected
    assert "model.toml" in caught.value.hint


def test_shapes_that_no_profile_takes_together_are_named_with_the_combinations():
    narrow = profile(a=((1, 8), (1, 8), (4, 8)), b=((1, 8), (1, 8), (4, 8)))
    wide = profile(a=((5, 8), (8, 8), (9, 8)), b=((5, 8), (8, 8), (9, 8)))

    with pytest.raises(InvalidInput, match=re.escape("'a' [1,8], 'b' [9,8] do not go together")) as caught:
        choose_profile([narrow, wide], {"a": (1, 8), "b": (9, 8)})

    assert "'a' [1,8] to [4,8], 'b' [1,8] to [4,8]; or 'a' [5,8] to [9,8]" in caught.value.message


def test_an_empty_tensor_is_taken_where_the_profile_allows_it():
    assert choose_profile([profile(x=((0, 3), (4, 3), (8, 3)))], {"x": (0, 3)}) == 0


def test_values_that_decide_over_shapes_have_their_own_range():
    sized = EngineProfile({}, {"size": ShapeRange((1, 1), (2, 2), (4, 4))})
    check_values(sized, {"size": [4, 1]})

    with pytest.raises(InvalidInput, match=re.escape("'size': got values [5, 1], this engine takes [1,1] to [4,4]")):
        check_values(sized, {"size": [5, 1]})
