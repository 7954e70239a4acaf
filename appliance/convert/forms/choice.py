"""Which form of a model is served by default, and why the others are not: pure rules over what was measured.

On the CPU the quickest form within its tolerance wins, and only if it is clearly quicker than FP32. For a GPU the
smallest form within its tolerance wins among those meant for it: latencies of this machine's CPU say nothing there.
If nothing else can be used, FP32 is chosen.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from appliance.convert.precision import Form, Target
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.variant import Variant

CLEARLY_QUICKER = 0.95  # of FP32's latency: less of a gain is within the noise of a busy machine
FORMS_FOR = {
    Target.CPU: (Form.FP32, Form.FP16, Form.INT8_DYNAMIC, Form.INT8_CPU),
    # ONNX Runtime's CUDA provider does not fuse what is quantised: it computes in FP32 and converts on top.
    Target.CUDA: (Form.FP32, Form.FP16),
    Target.TENSORRT: (Form.FP32, Form.FP16, Form.INT8_TENSORRT),
}


def choose(variants: Sequence[Variant], target: Target) -> list[Variant]:
    """Return the variants with their verdicts, exactly one of them chosen. FP32 comes first."""
    fp32 = variants[0]
    assert fp32.form is Form.FP32
    judged = [replace(variant, verdict=_verdict(variant, fp32, target), chosen=False) for variant in variants]
    usable = [variant for variant in judged if not variant.verdict]
    if target is Target.CPU:
        best = min(usable, key=lambda variant: latency_ratio(variant, fp32), default=judged[0])
    else:
        best = min(usable, key=lambda variant: variant.size_bytes, default=judged[0])
    return [replace(variant, chosen=variant is best) for variant in judged]


def refuse_unusable(variants: Sequence[Variant], target: Target) -> None:
    """Raise ConversionRefused if the chosen form is chosen only because none can be used."""
    chosen = next(variant for variant in variants if variant.chosen)
    if chosen.verdict:
        raise ConversionRefused(
            Reason.TARGET,
            f"no form of it can be used on {target.value}; {chosen.form.value}: {chosen.verdict}",
            hint="convert it for another target: --target cpu, --target cuda",
        )


def latency_ratio(variant: Variant, fp32: Variant) -> float:
    """Latency over that of FP32: geometric mean over the batch sizes that both were measured at, NaN if none."""
    ours, theirs = ({latency.batch_size: latency.median_ms for latency in each.latencies} for each in (variant, fp32))
    ratios = [ours[size] / theirs[size] for size in ours if size in theirs]
    return math.prod(ratios) ** (1 / len(ratios)) if ratios else math.nan


def _verdict(variant: Variant, fp32: Variant, target: Target) -> str:
    if variant.verdict:
        return variant.verdict
    if not variant.within_tolerance:
        return _outside(variant)
    if variant.form not in FORMS_FOR[target]:
        return _meant_for_others(variant.form, target)
    if target is Target.CPU and variant.form is not Form.FP32:
        return _too_slow(latency_ratio(variant, fp32))
    return ""


def _outside(variant: Variant) -> str:
    """Name the first bound that is missed, at its worst: what the person notices first comes first."""
    found = [comparison.difference for comparison in variant.comparisons]
    if not found:
        return "out of tolerance: it was compared with nothing"
    tolerance = variant.tolerance
    for name, worst, bound in (
        ("agreement", _smallest([each.agreement for each in found]), tolerance.agreement),
        ("cosine", _smallest([each.cosine for each in found]), tolerance.cosine),
    ):
        if not worst >= bound:
            return f"out of tolerance: {name} {worst:.6g} < {bound:g}"
    worst = -_smallest([-each.relative_error for each in found])
    return f"out of tolerance: relative error {worst:.6g} > {tolerance.relative_error:g}"


def _smallest(values: Sequence[float]) -> float:
    """NaN is worse than any number."""
    return next((value for value in values if math.isnan(value)), min(values))


def _meant_for_others(form: Form, target: Target) -> str:
    if form is Form.INT8_TENSORRT:
        return f"for tensorrt, not for {target.value}"
    return f"for the cpu, not for {target.value}; the latency measured here does not count"


def _too_slow(ratio: float) -> str:
    if math.isnan(ratio):
        return "its latency was not measured"
    if ratio > 1:
        return f"slower than fp32 (x{ratio:.2f})"
    if ratio > CLEARLY_QUICKER:
        return f"not clearly quicker than fp32 (x{ratio:.2f})"
    return ""
