"""Whether two runs of a model would lead to the same answer: each task's own metric, 1 where they would.

Outputs are known by Hugging Face's names. Where a model has others, a classifier's only output of floating-point
numbers stands for its `logits`; if that fails too, the outputs are compared as plain tensors.
Detections are compared where they are matched: detection.py.
"""

from collections.abc import Mapping

import numpy as np

from appliance.convert.samples import Array
from appliance.convert.task import Task
from appliance.convert.validation.cosine import smallest_row_cosine
from appliance.convert.validation.decisions import decide, equal_share, mean_iou, mean_share
from appliance.convert.validation.reading import Reading
from appliance.convert.validation.transcription import transcription_agreement

CLOSE = 1e-3  # elements of plain tensors: relative to their own size
SAME_DEPTH = 1.25  # the first of the thresholds that depth models are compared by
EMBEDDINGS = ("sentence_embedding", "pooler_output", "image_embeds", "text_embeds")

Outputs = Mapping[str, Array]


def agreement(task: Task, reference: Outputs, found: Outputs, inputs: Outputs, reading: Reading) -> float:
    """Measure the agreement of outputs of floating-point numbers. Padding is not among them.

    inputs: of the run, to know a decoder by its tokens.
    """
    measured = None
    match task:
        case (
            Task.IMAGE_CLASSIFICATION
            | Task.AUDIO_CLASSIFICATION
            | Task.TEXT_CLASSIFICATION
            | Task.TOKEN_CLASSIFICATION
        ):
            measured = _top1(reference, found, _logits_name(reference))
        case Task.SEMANTIC_SEGMENTATION:
            measured = _segmentation(reference, found)
        case Task.DEPTH_ESTIMATION:
            measured = _depth(reference, found)
        case Task.SPEECH_RECOGNITION:
            measured = _speech(reference, found, inputs, reading)
        case Task.FEATURE_EXTRACTION:
            measured = _embedding(reference, found)
        case Task.ZERO_SHOT_IMAGE_CLASSIFICATION:
            measured = _top1(reference, found, "logits_per_image")
            measured = _embedding(reference, found) if measured is None else measured
    return _close_share(reference, found) if measured is None else measured


def _logits_name(outputs: Outputs) -> str:
    return "logits" if "logits" in outputs or len(outputs) != 1 else next(iter(outputs))


def _top1(reference: Outputs, found: Outputs, name: str) -> float | None:
    if name not in reference or reference[name].ndim < 2 or 0 in reference[name].shape:  # noqa: PLR2004  # [N, ...]
        return None
    return equal_share(*decide(reference[name], found[name]))


def _segmentation(reference: Outputs, found: Outputs) -> float | None:
    own, other = _class_maps(reference), _class_maps(found)
    if own is None or other is None:
        return None
    return mean_iou(*decide(own, other, axis=1), max(own.shape[1], 2))


def _class_maps(outputs: Outputs) -> Array | None:
    """[N, classes, height, width]; models of masks and classes are joined as Hugging Face joins them."""
    if "masks_queries_logits" in outputs and "class_queries_logits" in outputs:
        classes, masks = outputs["class_queries_logits"], outputs["masks_queries_logits"]
        powers = np.exp(classes - classes.max(axis=-1, keepdims=True))
        scores = (powers / powers.sum(axis=-1, keepdims=True))[..., :-1]  # the last class is 'nothing'
        return np.asarray(np.einsum("nqc,nqhw->nchw", scores, 0.5 + 0.5 * np.tanh(0.5 * masks)))
    logits = outputs.get(_logits_name(outputs))
    return logits if logits is not None and logits.ndim == 4 and logits.size else None  # noqa: PLR2004  # as above


def _depth(reference: Outputs, found: Outputs) -> float | None:
    own, other = reference.get("predicted_depth"), found.get("predicted_depth")
    if own is None or other is None:
        return None
    low, high = np.minimum(own, other), np.maximum(own, other)
    # No ratio holds at zero and below, which models of relative depth do give: there the distance decides.
    near = high - low <= CLOSE * np.abs(own).max(initial=0)
    return mean_share((high < SAME_DEPTH * low) | near)


def _speech(reference: Outputs, found: Outputs, inputs: Outputs, reading: Reading) -> float | None:
    if "logits" not in reference:
        return _embedding(reference, found)  # an encoder
    if "input_ids" in inputs or "decoder_input_ids" in inputs:
        return _top1(reference, found, "logits")
    if reference["logits"].ndim != 3 or 0 in reference["logits"].shape:  # noqa: PLR2004  # [N, steps, tokens]
        return None
    return transcription_agreement(reference["logits"], found["logits"], reading.blank_token)


def _embedding(reference: Outputs, found: Outputs) -> float | None:
    """Cosine of the worst vector: of the pooled output, which is what people use, if the model has one."""
    pooled = [name for name in EMBEDDINGS if name in reference]
    names = pooled or [name for name, array in reference.items() if array.ndim > 1]
    if not names:
        return None
    return min(smallest_row_cosine(reference[name], found[name]) for name in names)


def _close_share(reference: Outputs, found: Outputs) -> float:
    """Share of elements within CLOSE, of the worst output. Elements that are small beside the largest of their
    output are what FP32's rounding left: they count as large as a thousandth of it.
    """
    shares = [1.0]
    for name, own in reference.items():
        size = np.maximum(np.abs(own), CLOSE * np.abs(own).max(initial=0))
        shares.append(mean_share(np.abs(found[name] - own) <= CLOSE * size))
    return min(shares)
