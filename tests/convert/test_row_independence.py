"""Whether a model of a task may be served in batches: its rows joined, and each alone."""

import numpy as np
import pytest

from appliance.convert.samples import Batch
from appliance.convert.sources.row_independence import answers_rows_alone
from appliance.convert.task import Task

RANDOM = np.random.default_rng(3)
ROWS = RANDOM.random((4, 6), dtype=np.float32)
BATCHES = [Batch("batch 1", 1, {"x": ROWS[:1]}), Batch("batch 4", 4, {"x": ROWS})]


def independent(inputs):
    return {"logits": inputs["x"] * 3}


def normalised_over_the_batch(inputs):
    return {"logits": inputs["x"] - inputs["x"].mean(axis=0)}


def of_all_rows_together(inputs):
    return {"logits": inputs["x"].sum(axis=0)}


@pytest.mark.parametrize(
    ("reference", "expected"),
    [(independent, True), (normalised_over_the_batch, False), (of_all_rows_together, False)],
)
def test_rows_that_change_each_other_are_found(reference, expected):
    assert answers_rows_alone(Task.TEXT_CLASSIFICATION, reference, BATCHES) is expected


def test_the_order_of_detections_is_no_dependence():
    logits, boxes = RANDOM.normal(0, 3, (4, 10, 5)).astype(np.float32), RANDOM.random((4, 10, 4), dtype=np.float32)

    def detector(inputs):
        rows = [int(np.flatnonzero((row == ROWS).all(axis=1))[0]) for row in inputs["x"]]
        order = np.arange(10)[:: -1 if len(rows) > 1 else 1]
        return {"logits": logits[rows][:, order], "pred_boxes": boxes[rows][:, order]}

    assert answers_rows_alone(Task.OBJECT_DETECTION, detector, BATCHES)


def test_a_model_of_one_row_has_nothing_to_join():
    assert answers_rows_alone(Task.TEXT_CLASSIFICATION, normalised_over_the_batch, BATCHES[:1])
