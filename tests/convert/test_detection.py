"""Detections are matched before they are compared: order is nothing, boxes and classes are all."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from appliance.convert.task import Task
from appliance.convert.validation.assignment import assign
from appliance.convert.validation.detection import box_iou
from appliance.convert.validation.metrics import difference
from appliance.convert.validation.reading import Reading

CLASSES = 5


def detections(queries=20, pictures=2, seed=3, extra=0):
    random = np.random.default_rng(seed)
    logits = random.normal(-3, 2, (pictures, queries, CLASSES + extra)).astype(np.float32)
    centres = random.uniform(0.2, 0.8, (pictures, queries, 2))
    sizes = random.uniform(0.1, 0.4, (pictures, queries, 2))
    return {"logits": logits, "pred_boxes": np.concatenate([centres, sizes], axis=-1).astype(np.float32)}


def shuffled(outputs, seed):
    """Queries of each picture in another order."""
    random = np.random.default_rng(seed)
    pictures, queries = outputs["logits"].shape[:2]
    orders = [random.permutation(queries) for _ in range(pictures)]
    return {
        name: np.stack([picture[order] for picture, order in zip(array, orders, strict=True)])
        for name, array in outputs.items()
    }


def compare(reference, found, label_count=0):
    return difference(Task.OBJECT_DETECTION, reference, found, reading=Reading(label_count=label_count))


def one_picture(*rows):
    """rows: (logits, box)."""
    logits, boxes = zip(*rows, strict=True)
    return {"logits": np.array([logits], np.float32), "pred_boxes": np.array([boxes], np.float32)}


@given(st.integers(0, 6), st.data())
def test_the_assignment_is_as_cheap_as_the_best_of_all_orders(size, data):
    costs = data.draw(arrays.arrays(np.float64, (size, size), elements=st.integers(-3, 3).map(float)))

    columns = assign(costs)

    best = min(sum(costs[row, column] for row, column in enumerate(order)) for order in permutations(range(size)))
    assert sorted(columns) == list(range(size))
    assert costs[np.arange(size), columns].sum() == best


def test_greedy_pairing_would_cost_more():
    costs = np.array([[1.0, 2.0], [2.0, 100.0]])

    assert assign(costs).tolist() == [1, 0]


@settings(max_examples=25)
@given(st.integers(0, 1000))
def test_the_order_of_queries_changes_nothing(seed):
    reference = detections()
    found = {name: array + np.float32(1e-5) for name, array in reference.items()}

    plain, mixed = compare(reference, found), compare(reference, shuffled(found, seed))

    assert mixed == plain
    assert plain.absolute_error == pytest.approx(1e-5, rel=0.1)
    assert plain.agreement == 1


def test_further_outputs_of_the_queries_follow_them():
    reference = detections()
    reference["last_hidden_state"] = np.random.default_rng(0).normal(size=(2, 20, 7)).astype(np.float32)

    assert compare(reference, shuffled(reference, 9)).absolute_error == 0


def test_outputs_that_belong_to_no_query_stay_as_they_are():
    reference = detections() | {"encoder": np.arange(6, dtype=np.float32).reshape(2, 3)}
    found = shuffled(detections(), 9) | {"encoder": np.arange(6, dtype=np.float32).reshape(2, 3)[::-1]}

    assert compare(reference, found).absolute_error == 3


def test_queries_that_differ_in_their_unlikely_classes_alone_find_each_other():
    box = (0.5, 0.5, 0.2, 0.2)
    rows = [([5, -50, -50], box), ([-70, -60, -65], box), ([-60, -70, -65], box)]

    found = [compare(one_picture(*rows), one_picture(*order)) for order in permutations(rows)]

    assert [each.absolute_error for each in found] == [0] * 6


def test_a_wrong_weight_in_the_boxes_shows_through_any_order():
    reference = detections()
    found = shuffled(reference, 4)
    found["pred_boxes"] = found["pred_boxes"] * np.float32(1.2)

    measured = compare(reference, found)

    assert measured.relative_error > 0.05
    assert measured.agreement < 0.5


def test_a_moved_box_another_class_and_a_lost_score_are_each_no_longer_the_same():
    box, moved = (0.5, 0.5, 0.2, 0.2), (0.52, 0.5, 0.2, 0.2)
    far = [(0.1, 0.1, 0.1, 0.1), (0.9, 0.1, 0.1, 0.1), (0.1, 0.9, 0.1, 0.1)]
    reference = one_picture(([3, -3], box), *(([3, -3], each) for each in far))
    others = [([3, -3], each) for each in far]

    assert compare(reference, one_picture(([3, -3], moved), *others)).agreement == 0.75
    assert compare(reference, one_picture(([-3, 3], box), *others)).agreement == 0.75
    assert compare(reference, one_picture(([-4, -5], box), *others)).agreement == 0.75
    assert compare(reference, one_picture(([2, -3], box), *others)).agreement == 1


def test_a_box_that_only_the_conversion_sees_counts_against_it():
    boxes = [(0.5, 0.5, 0.2, 0.2), (0.2, 0.2, 0.1, 0.1)]
    reference = one_picture(([3, -3], boxes[0]), ([-6, -6], boxes[1]))
    found = one_picture(([3, -3], boxes[0]), ([3, -6], boxes[1]))

    assert compare(reference, found).agreement == 0.5


def test_queries_that_nobody_would_show_do_not_count():
    box, somewhere, elsewhere = (0.5, 0.5, 0.2, 0.2), (0.2, 0.2, 0.1, 0.1), (0.8, 0.8, 0.1, 0.1)
    reference = one_picture(([3, -3], box), ([-6, -5], somewhere))
    found = one_picture(([3, -3], box), ([-5, -6], elsewhere))

    assert compare(reference, found).agreement == 1


def test_the_last_class_means_nothing_where_there_is_one_more_than_labels():
    box, somewhere, elsewhere = (0.5, 0.5, 0.2, 0.2), (0.2, 0.2, 0.1, 0.1), (0.8, 0.8, 0.1, 0.1)
    reference = one_picture(([5, 0, 0], box), ([0, 0, 9], somewhere))
    found = one_picture(([5, 0, 0], box), ([0, 0, 9], elsewhere))

    assert compare(reference, found, label_count=2).agreement == 1
    assert compare(reference, found, label_count=3).agreement == 0.5


def test_large_logits_are_scores_like_others():
    box = (0.5, 0.5, 0.2, 0.2)
    outputs = one_picture(([1500, 0, 0], box), ([-1500, 0, 0], box))

    assert compare(outputs, outputs, label_count=2).agreement == 1
    assert compare(outputs, outputs, label_count=3).agreement == 1


def test_candidates_exchanged_at_the_end_of_a_list_are_no_error():
    reference = detections(queries=100, pictures=1)
    reference["logits"][0, 99] = -9  # nobody would show it
    found = {name: np.roll(array, 1, axis=1) for name, array in reference.items()}
    found["pred_boxes"][0, 0] = (0.05, 0.95, 0.01, 0.01)  # the 99th candidate is another one

    measured = compare(reference, found)

    assert (measured.absolute_error, measured.agreement) == (0, 1)


def test_the_worst_of_the_matched_queries_is_not_left_out():
    reference = detections(queries=100, pictures=1)
    found = {name: np.roll(array, 1, axis=1) for name, array in reference.items()}
    found["pred_boxes"][0, 0, 0] += 0.01

    assert compare(reference, found).absolute_error == pytest.approx(0.01, rel=1e-3)


def test_a_query_in_its_own_place_is_never_taken_for_an_exchange():
    reference = detections(queries=100, pictures=1)
    reference["logits"][0, 99] = -9
    found = {name: array.copy() for name, array in reference.items()}
    found["pred_boxes"][0, 99] = (0.05, 0.95, 0.01, 0.01)

    assert compare(reference, found).relative_error > 0.3


def test_more_exchanges_than_ties_explain_are_errors():
    reference = detections(queries=100, pictures=1)
    found = {name: np.roll(array, 1, axis=1) for name, array in reference.items()}
    found["pred_boxes"][0, :3] = (0.05, 0.95, 0.01, 0.01)

    assert compare(reference, found).relative_error > 0.3


def test_boxes_overlap_as_drawn():
    one = np.array(
        [[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0.5, 0.5, -1, 1]]
    )
    two = np.array([[0.5, 0.5, 0.2, 0.1], [0.9, 0.5, 0.2, 0.2], [0.5, 0.5, 0, 0], [0.1, 0.5, 0, 0], [0.5, 0.5, 1, 1]])

    assert box_iou(one, two) == pytest.approx([0.5, 0, 1, 0, 0])


def test_a_detector_without_queries_agrees_with_itself():
    outputs = {"logits": np.zeros((1, 0, 3), np.float32), "pred_boxes": np.zeros((1, 0, 4), np.float32)}

    assert compare(outputs, outputs).agreement == 1
