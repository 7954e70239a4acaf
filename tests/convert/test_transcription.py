"""Reading CTC output greedily, and the token error rate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.convert.task import Task
from appliance.convert.validation.metrics import difference
from appliance.convert.validation.reading import Reading
from appliance.convert.validation.transcription import edit_distance, read_greedily

texts = st.lists(st.integers(0, 3), max_size=7)


def agreement(reference, found, reading=None):
    """Both: the token of each step, one list for each row."""
    own, other = ({"logits": np.eye(8, dtype=np.float32)[np.array(each)]} for each in (reference, found))
    return difference(Task.SPEECH_RECOGNITION, own, other, reading=reading or Reading()).agreement


def naive_distance(one, two):
    if not one or not two:
        return len(one) + len(two)
    return min(
        naive_distance(one[1:], two) + 1,
        naive_distance(one, two[1:]) + 1,
        naive_distance(one[1:], two[1:]) + (one[0] != two[0]),
    )


@given(texts.filter(lambda text: len(text) < 6), texts.filter(lambda text: len(text) < 6))
def test_the_edit_distance_is_that_of_the_definition(one, two):
    assert edit_distance(one, two) == naive_distance(one, two)


@given(texts, texts)
def test_the_edit_distance_does_not_depend_on_the_side(one, two):
    assert edit_distance(one, two) == edit_distance(two, one)


@given(texts, texts, texts)
def test_a_detour_is_never_shorter(one, two, three):
    assert edit_distance(one, three) <= edit_distance(one, two) + edit_distance(two, three)


@pytest.mark.parametrize(
    ("steps", "text"),
    [([], []), ([0, 0], []), ([1, 1, 0, 1, 2, 2], [1, 1, 2]), ([0, 3, 3, 3], [3]), ([4], [4])],
)
def test_repeated_tokens_join_unless_a_blank_parts_them(steps, text):
    assert read_greedily(np.array(steps, dtype=np.int64), blank_token=0) == text


def test_the_same_words_at_other_times_agree():
    assert agreement([[1, 0, 2, 2, 0, 3]], [[1, 1, 2, 0, 3, 0]]) == 1


def test_errors_are_counted_over_all_rows():
    assert agreement([[1, 2, 3, 4], [1, 0, 0, 0]], [[1, 2, 3, 5], [1, 0, 0, 0]]) == pytest.approx(1 - 1 / 5)


def test_more_errors_than_words_are_no_less_than_nothing():
    assert agreement([[1, 0, 0, 0]], [[2, 3, 4, 5]]) == 0


def test_silence_agrees_with_silence_alone():
    assert agreement([[0, 0, 0]], [[0, 0, 0]]) == 1
    assert agreement([[0, 0, 0]], [[0, 1, 0]]) == 0


def test_the_blank_is_the_one_that_the_model_names():
    blank = Reading(blank_token=7)

    assert agreement([[7, 0, 7, 1]], [[0, 7, 7, 1]], blank) == 1
    assert agreement([[7, 0, 7, 1]], [[7, 7, 7, 1]], blank) == 0.5
