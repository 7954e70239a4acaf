"""What the report says first: does the ONNX model compute what the source computes, and what is served."""

import math

from appliance.convert.comparison import Difference
from appliance.convert.conversion import Conversion
from appliance.convert.forms.choice import latency_ratio
from appliance.convert.report.markup import Markup, element, joined
from appliance.convert.report.report_numbers import (
    FORM_NAMES,
    counted,
    error,
    error_text,
    milliseconds,
    share,
    size,
    three_digits,
)
from appliance.convert.task import Task
from appliance.convert.validation.worst_difference import worst_difference
from appliance.convert.variant import Variant

METRICS = {
    Task.IMAGE_CLASSIFICATION: "equal top-1 classes",
    Task.OBJECT_DETECTION: "boxes found again, of the same class",
    Task.SEMANTIC_SEGMENTATION: "mean IoU of the maps",
    Task.DEPTH_ESTIMATION: "depths within 25 %",
    Task.AUDIO_CLASSIFICATION: "equal top-1 classes",
    Task.SPEECH_RECOGNITION: "1 - error rate of what was heard",
    Task.TEXT_CLASSIFICATION: "equal top-1 classes",
    Task.TOKEN_CLASSIFICATION: "tokens of equal top-1 class",
    Task.FEATURE_EXTRACTION: "smallest cosine of two embeddings",
    Task.ZERO_SHOT_IMAGE_CLASSIFICATION: "equal top-1 descriptions",
    Task.TENSORS: "equal values",
}


def headline(conversion: Conversion) -> Markup:
    """Give the verdict in one sentence."""
    reference = conversion.variants[0]
    worst = worst_difference(reference.comparisons)
    source = conversion.exported.architecture
    if worst is None:
        return joined(f"Nothing was compared with {source}: nothing is known about this model.")
    agrees = "computes what" if reference.within_tolerance else "does not compute what"
    return joined(
        f"The ONNX model {agrees} {source} computes: over ",
        counted(len(reference.comparisons), "case"),
        " its outputs differ by at most ",
        error(worst.relative_error),
        " of their largest value, and the agreement is ",
        share(worst.agreement),
        ".",
    )


def key_figures(conversion: Conversion) -> Markup:
    """Show the four numbers that people ask for."""
    reference, chosen = conversion.variants[0], conversion.chosen
    worst = worst_difference(reference.comparisons)
    accuracy = () if worst is None else (_error_figure(worst, reference), _agreement_figure(worst, conversion))
    return element(
        "div",
        *accuracy,
        _figure("Served by default", FORM_NAMES[chosen.form], joined(size(chosen.size_bytes))),
        *_latency_figure(chosen, reference),
        class_="figures",
    )


def quickness(variant: Variant, reference: Variant) -> str:
    """Compare over all batch sizes that both were measured at; empty if there are none or it is the same variant."""
    if variant is reference or not all(one.median_ms for one in (*variant.latencies, *reference.latencies)):
        return ""
    ratio = latency_ratio(variant, reference)
    if math.isnan(ratio):
        return ""
    return f"{three_digits(ratio)} times as slow" if ratio > 1 else f"{three_digits(1 / ratio)} times as quick"


def _error_figure(worst: Difference, reference: Variant) -> Markup:
    bound = f"of the largest value; bound {error_text(reference.tolerance.relative_error)}"
    return _figure("FP32 against the source", error(worst.relative_error), bound)


def _agreement_figure(worst: Difference, conversion: Conversion) -> Markup:
    return _figure("Agreement of FP32", share(worst.agreement), METRICS[conversion.exported.task])


def _latency_figure(chosen: Variant, reference: Variant) -> list[Markup]:
    if not chosen.latencies:
        return []
    first = min(chosen.latencies, key=lambda latency: latency.batch_size)
    compared = quickness(chosen, reference)
    note = f"{compared} as FP32" if compared else "on one thread of this machine"
    return [_figure(f"Latency, batch {first.batch_size}", milliseconds(first.median_ms), note)]


def _figure(name: str, value: str, note: str) -> Markup:
    return element(
        "div",
        element("p", name, class_="what"),
        element("p", value, class_="value"),
        element("p", note, class_="quiet"),
    )
