"""A conversion as JSON: `conversion.json` in the package, and `appliance convert --json`.

Invariants: keys are stable, all of them are always there; every number is finite (NaN and infinities become text);
no path of the workstation gets in: files are named relative to the package, sources by their name alone.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from appliance.convert.comparison import HISTOGRAM_DECADES, Comparison, Difference, Tolerance
from appliance.convert.conversion import Conversion
from appliance.convert.exported_model import ExportedModel, Graph
from appliance.convert.package.package_layout import packaged_files
from appliance.convert.request import ConversionRequest
from appliance.convert.validation.worst_difference import worst_difference
from appliance.convert.variant import Latency, Variant
from appliance.model.identity import ModelVersion

FORMAT = 1


def report_document(conversion: Conversion) -> dict[str, Any]:
    """Say everything that was found out, in JSON's own types."""
    request, exported = conversion.request, conversion.exported
    document = {
        "format": FORMAT,
        "model": _model(request, exported),
        "source": {"name": source_name(request), "files": dict(sorted(conversion.source_digests.items()))},
        "options": _options(request),
        "samples_are_real": exported.samples_are_real,
        "graphs": [_graph(graph) for graph in exported.graphs],
        "validation": _validation(conversion.variants[0]),
        "histogram_decades": HISTOGRAM_DECADES,
        "variants": [_variant(variant, request.version) for variant in conversion.variants],
        "machine": conversion.machine,
        "preprocessing": exported.preprocessing,
        "tool_versions": dict(sorted(exported.tool_versions.items())),
    }
    return {name: plain(value) for name, value in document.items()}


def report_json(conversion: Conversion) -> str:
    """Write the document as the text of a file."""
    return json.dumps(report_document(conversion), indent=2, allow_nan=False) + "\n"


def source_name(request: ConversionRequest) -> str:
    """Name the source without saying where it lay."""
    return PurePath(request.source).name


def plain(value: Any) -> Any:
    """Reduce a value to JSON's own types."""
    match value:
        case np.generic():
            return plain(value.item())
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(name): plain(item) for name, item in value.items()}
        case Sequence():
            return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} in a report: expected what JSON can hold")


def _model(request: ConversionRequest, exported: ExportedModel) -> dict[str, Any]:
    return {
        "name": request.name,
        "version": request.version,
        "task": exported.task.value,
        "architecture": exported.architecture,
        "licence": request.licence,
        "base_model": request.base_model,
        "intended_use": request.intended_use,
        "author": request.author,
        "labels": exported.labels,
        "label_output": exported.label_output,
    }


def _options(request: ConversionRequest) -> dict[str, Any]:
    return {
        "precisions": [precision.value for precision in request.precisions],
        "target": request.target.value,
        "max_batch_size": request.max_batch_size,
        "max_length": request.max_length,
        "allow_pickle": request.allow_pickle,
    }


def _graph(graph: Graph) -> dict[str, Any]:
    return {
        "name": graph.name,
        "batched": graph.batched,
        "samples": len(graph.samples),
        "profiles": {
            name: {"min": profile.min, "opt": profile.opt, "max": profile.max}
            for name, profile in graph.profiles.items()
        },
    }


def _validation(reference: Variant) -> dict[str, Any]:
    """FP32 against the source; its cases stand with the variant."""
    return {"within_tolerance": reference.within_tolerance, "cases": len(reference.comparisons)}


def _variant(variant: Variant, version: ModelVersion) -> dict[str, Any]:
    worst = worst_difference(variant.comparisons)
    return {
        "form": variant.form.value,
        "files": packaged_files(variant, version),
        "size_bytes": variant.size_bytes,
        "chosen": variant.chosen,
        "within_tolerance": variant.within_tolerance,
        "verdict": variant.verdict,
        "parser": variant.parser,
        "tolerance": _tolerance(variant.tolerance),
        "worst": None if worst is None else _difference(worst),
        "latencies": [_latency(latency) for latency in variant.latencies],
        "comparisons": [_comparison(comparison) for comparison in variant.comparisons],
    }


def _tolerance(tolerance: Tolerance) -> dict[str, float]:
    return {
        "relative_error": tolerance.relative_error,
        "cosine": tolerance.cosine,
        "agreement": tolerance.agreement,
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "absolute_error": difference.absolute_error,
        "relative_error": difference.relative_error,
        "cosine": difference.cosine,
        "agreement": difference.agreement,
        "histogram": difference.histogram,
    }


def _latency(latency: Latency) -> dict[str, Any]:
    return {
        "batch_size": latency.batch_size,
        "median_ms": latency.median_ms,
        "rows_per_s": rows_per_s(latency),
        "runs": latency.runs,
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "graph": comparison.graph,
        "case": comparison.case,
        "batch_size": comparison.batch_size,
        "shapes": comparison.shapes,
        **_difference(comparison.difference),
    }


def rows_per_s(latency: Latency) -> float:
    """Return the throughput that a latency means; NaN if the clock was too coarse to see it."""
    return latency.batch_size / latency.median_ms * 1000 if latency.median_ms else math.nan
