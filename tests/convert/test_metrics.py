"""How far two runs are from each other: errors, cosine, histogram; and what cannot be compared."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from appliance.convert.comparison import HISTOGRAM_DECADES
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.task import Task
from appliance.convert.validation.metrics import difference


def floats(*values):
    return np.array(values, dtype=np.float32)


def compare(reference, found, task=Task.TENSORS, **options):
    return difference(task, {"logits": np.asarray(reference)}, {"logits": np.asarray(found)}, **options)


def refusal(reference, found, task=Task.TENSORS):
    with pytest.raises(ConversionRefused) as refused:
        difference(task, reference, found)
    return refused.value


def test_equal_outputs_differ_in_nothing():
    found = compare(floats(1, -2, 3), floats(1, -2, 3))

    assert (found.absolute_error, found.relative_error, found.agreement) == (0, 0, 1)
    assert found.cosine == pytest.approx(1, abs=1e-15)
    assert found.histogram == (3, *(0 for _ in HISTOGRAM_DECADES[1:]))


def test_errors_are_the_largest_of_the_worst_output():
    reference = {"small": floats(0.1, 0), "large": floats(100, 0), "equal": floats(1, 2)}
    found = {"small": floats(0.15, 0), "large": floats(101, 0), "equal": floats(1, 2)}

    measured = difference(Task.TENSORS, reference, found)

    assert measured.absolute_error == 1
    assert measured.relative_error == pytest.approx(0.5)  # of the small one, not 1 % of the large one


def test_an_output_of_zeros_has_no_relative_error_to_hide_behind():
    found = compare(floats(0, 0), floats(0, 1e-9))

    assert math.isinf(found.relative_error)
    assert found.cosine == 0


def test_the_cosine_is_that_of_the_worst_output():
    reference = {"a": floats(1, 0), "b": floats(1, 0)}
    found = {"a": floats(1, 0), "b": floats(1, 1)}

    assert difference(Task.TENSORS, reference, found).cosine == pytest.approx(math.sqrt(0.5))


def test_one_bad_embedding_among_many_sets_the_cosine():
    reference = np.eye(8, dtype=np.float32)
    found = reference.copy()
    found[3] = -found[3]

    measured = difference(Task.FEATURE_EXTRACTION, {"sentence_embedding": reference}, {"sentence_embedding": found})

    assert (measured.cosine, measured.agreement) == (-1, -1)


@pytest.mark.parametrize(("error", "decade"), [(1e-15, -12), (1e-12, -12), (5e-7, -7), (1e-3, -3), (1, 0), (1e9, 2)])
def test_each_error_counts_in_the_decade_that_it_begins(error, decade):
    measured = compare(np.zeros(1), np.array([float(error)]))

    assert measured.histogram[HISTOGRAM_DECADES.index(decade)] == 1
    assert sum(measured.histogram) == 1


@given(
    arrays.arrays(np.float32, (2, 3), elements=st.floats(-100, 100, width=32)),
    arrays.arrays(np.float32, (2, 3), elements=st.floats(-100, 100, width=32)),
)
def test_absolute_error_cosine_and_histogram_do_not_depend_on_the_side(one, two):
    forth, back = compare(one, two), compare(two, one)

    assert forth.absolute_error == back.absolute_error
    assert forth.cosine == back.cosine
    assert forth.histogram == back.histogram


def test_a_missing_output_is_refused_with_both_lists():
    refused = refusal({"a": floats(1), "b": floats(1)}, {"a": floats(1)})

    assert refused.reason is Reason.OUT_OF_TOLERANCE
    assert refused.message == "the outputs: found a, expected a, b"


def test_another_shape_is_refused_even_if_it_could_be_stretched():
    refused = refusal({"a": np.ones((2, 3), np.float32)}, {"a": np.ones((1, 3), np.float32)})

    assert refused.message == "the shape of output 'a': found [1, 3], expected [2, 3]"


def test_integers_in_place_of_numbers_are_refused():
    refused = refusal({"a": floats(1)}, {"a": np.array([1])})

    assert refused.message == "the type of output 'a': found int64, expected float32"


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("task", list(Task))
def test_nan_and_infinity_never_agree_with_a_number(task, broken):
    refused = refusal({"logits": floats(1, 2)[None]}, {"logits": floats(1, broken)[None]}, task)

    assert refused.reason is Reason.OUT_OF_TOLERANCE
    assert refused.message == f"output 'logits', element 1: found {float(broken)} (1 of 2 are such), expected 2"


def test_a_source_of_nan_agrees_with_nothing_not_even_nan():
    refused = refusal({"a": floats(np.nan, 1)}, {"a": floats(np.nan, 1)})

    assert refused.message == "output 'a' of the source: found NaN in 1 of 2, expected numbers"


def test_infinities_on_which_both_agree_leave_the_rest_comparable():
    measured = compare(floats(-np.inf, 2, 4)[None], floats(-np.inf, 2, 3)[None], Task.IMAGE_CLASSIFICATION)

    assert measured.absolute_error == 1
    assert measured.relative_error == 0.25
    assert measured.agreement == 1


def test_infinities_of_other_signs_are_refused():
    assert "found -inf" in refusal({"a": floats(np.inf)}, {"a": floats(-np.inf)}).message


def test_integers_truth_values_and_text_count_where_they_are_equal():
    integers = compare(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]))
    truths = compare(np.array([True, False]), np.array([True, True]))
    text = compare(np.array(["a", "b"]), np.array(["a", b"b"], dtype=object))

    assert (integers.agreement, truths.agreement, text.agreement) == (0.75, 0.5, 1)
    assert (integers.cosine, integers.absolute_error) == (0.75, 0)


def test_a_wrong_label_shows_beside_perfect_numbers():
    reference = {"label": np.array([1, 2]), "probabilities": floats(0.1, 0.9)}
    found = {"label": np.array([1, 1]), "probabilities": floats(0.1, 0.9)}

    assert difference(Task.TENSORS, reference, found).agreement == 0.5


def test_the_smallest_numbers_still_have_a_direction():
    assert compare(np.array([1e-200, 1e-200]), np.array([1e-200, 0])).cosine == pytest.approx(math.sqrt(0.5))


def test_which_of_two_tied_classes_comes_first_says_nothing():
    scores = np.array([[0.5, 0.5 - 1e-7, 0.0], [0.2, 0.7, 0.1]])
    reference = {"label": np.array([0, 1]), "probabilities": scores}

    tied = difference(Task.TENSORS, reference, {"label": np.array([1, 1]), "probabilities": scores})
    wrong = difference(Task.TENSORS, reference, {"label": np.array([0, 2]), "probabilities": scores})

    assert (tied.agreement, tied.cosine) == (1, pytest.approx(1))
    assert (wrong.agreement, wrong.cosine) == (0.5, 0.5)
