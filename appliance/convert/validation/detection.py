"""Detections of two runs: find the partner of each query, then say how many boxes are the same.

Queries come out in another order where two candidates are all but equal (top-k in RT-DETR and D-FINE), so rows
mean nothing before they are matched. `logits`: [N, queries, classes], `pred_boxes`: [N, queries, 4] as centre x,
centre y, width, height, each 0 to 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from appliance.convert.samples import Array
from appliance.convert.validation.assignment import assign
from appliance.convert.validation.decisions import decide, mean_share

LOGITS, BOXES = "logits", "pred_boxes"
SAME_BOX_IOU = 0.9
_CONFIDENT = 0.5  # of the picture's best score: on made-up pictures nothing comes near an absolute threshold
# At the end of a top-k list two candidates may be tied, and each run takes another one. Such an exchange is no
# error of the conversion: of each picture's queries this share may be left out of the errors, and only if the queries
# did come in another order. If one was confident, the agreement still counts it.
_EXCHANGED_SHARE = 0.02
_EXCHANGED_DISTANCE = 0.1  # a pair that is nearer is the same query


@dataclass(frozen=True, slots=True)
class MatchedDetections:
    """Rows of both runs in the same order: output -> [pairs, ...]; outputs without queries stay as they were."""

    reference: Mapping[str, Array]
    found: Mapping[str, Array]
    agreement: float  # share of confident boxes that both have


def has_detections(outputs: Mapping[str, Array]) -> bool:
    """Say whether these are the outputs of a detector."""
    if LOGITS not in outputs or BOXES not in outputs:
        return False
    logits, boxes = outputs[LOGITS], outputs[BOXES]
    return logits.ndim == boxes.ndim == 3 and boxes.shape == (*logits.shape[:2], 4)  # noqa: PLR2004  # as above


def match_detections(
    reference: Mapping[str, Array], found: Mapping[str, Array], label_count: int
) -> MatchedDetections:
    """Match the queries of each picture. label_count: 0 if unknown."""
    own, other = _pictures(reference, label_count), _pictures(found, label_count)
    distances = [_distances(one, two) for one, two in zip(own, other, strict=True)]
    partners = [assign(each) for each in distances]
    agreed = [_agreed(one, two.taken(rows)) for one, two, rows in zip(own, other, partners, strict=True)]
    kept = [_kept(each, rows) for each, rows in zip(distances, partners, strict=True)]
    return MatchedDetections(
        _rows(reference, kept),
        _rows(found, [rows[chosen] for rows, chosen in zip(partners, kept, strict=True)]),
        mean_share(np.concatenate(agreed)) if agreed else 1.0,
    )


@dataclass(frozen=True, slots=True)
class _Picture:
    """What one run says of one picture."""

    logits: Array  # [queries, classes], 'nothing' not among them
    scores: Array  # [queries, classes], 0 to 1
    boxes: Array  # [queries, 4]

    def taken(self, rows: Array) -> "_Picture":
        return _Picture(self.logits[rows], self.scores[rows], self.boxes[rows])


def _pictures(outputs: Mapping[str, Array], label_count: int) -> list[_Picture]:
    logits, boxes = (outputs[name].astype(np.float64) for name in (LOGITS, BOXES))
    if logits.shape[-1] == label_count + 1 and label_count:
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        scores = (powers / powers.sum(axis=-1, keepdims=True))[..., :-1]
        logits = logits[..., :-1]
    else:
        scores = 0.5 + 0.5 * np.tanh(0.5 * logits)  # the sigmoid, without overflow
    return [_Picture(*each) for each in zip(logits, scores, boxes, strict=True)]


def _distances(one: _Picture, two: _Picture) -> Array:
    """[queries, queries]: by class scores, by overlap, and by every number where neither tells two queries apart."""
    scale = max(np.abs(one.logits).max(initial=0), 1e-30)
    numbers, others = (np.concatenate([each.logits / scale, each.boxes], axis=1) for each in (one, two))
    by_row = [
        np.abs(two.scores - scores).max(axis=1, initial=0) + np.abs(others - values).mean(axis=1)
        for scores, values in zip(one.scores, numbers, strict=True)  # one row at a time: 900 x 900 x 256 is too much
    ]
    overlaps = box_iou(one.boxes[:, None], two.boxes[None])
    return np.asarray(by_row).reshape(overlaps.shape) + 1 - overlaps


def box_iou(one: Array, two: Array) -> Array:
    """Intersection over union of boxes on the last axis; equal boxes overlap fully, whatever their area."""
    low = np.maximum(one[..., :2] - one[..., 2:] / 2, two[..., :2] - two[..., 2:] / 2)
    high = np.minimum(one[..., :2] + one[..., 2:] / 2, two[..., :2] + two[..., 2:] / 2)
    both = np.clip(high - low, 0, None).prod(axis=-1)
    union = one[..., 2:].prod(axis=-1) + two[..., 2:].prod(axis=-1) - both
    overlaps = np.where(union > 0, both / np.where(union > 0, union, 1), 0)
    return np.asarray(np.where(np.all(one == two, axis=-1), 1, overlaps))


def _agreed(one: _Picture, two: _Picture) -> Array:
    """Of each pair in which either is confident: whether both mean the same box."""
    own, other = one.scores.max(axis=1, initial=0), two.scores.max(axis=1, initial=0)
    threshold = _CONFIDENT * own.max(initial=0)
    classes, found_classes = decide(one.logits, two.logits)
    # Neither may have lost the other's confidence: a box that only one of them would show is not the same.
    same_score = np.minimum(own, other) >= _CONFIDENT * np.maximum(own, other)
    same = (classes == found_classes) & same_score & (box_iou(one.boxes, two.boxes) >= SAME_BOX_IOU)
    return np.asarray(same[(own >= threshold) | (other >= threshold)])


def _kept(distances: Array, partners: Array) -> Array:
    """Rows that count for the errors: all but the few that were exchanged at the end of a top-k list."""
    rows = np.arange(len(partners))
    if np.array_equal(rows, partners):
        return rows
    apart = distances[rows, partners]
    farthest = np.argsort(-apart, kind="stable")[: int(_EXCHANGED_SHARE * len(rows))]
    return np.setdiff1d(rows, farthest[apart[farthest] > _EXCHANGED_DISTANCE])


def _rows(outputs: Mapping[str, Array], rows: list[Array]) -> dict[str, Array]:
    queries = outputs[LOGITS].shape[:2]
    return {
        name: np.concatenate([picture[chosen] for picture, chosen in zip(array, rows, strict=True)])
        if array.shape[:2] == queries and len(array)
        else array
        for name, array in outputs.items()
    }
