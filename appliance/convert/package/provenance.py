"""provenance.json: where a package came from, what was done to it, and how close it stayed to its source.

Invariant: apart from `when` it is a pure function of the source, the options and the tools. Measured times are not in
here: they stand in conversion.json. No path of the workstation is in here either.
"""

import json
from collections.abc import Mapping
from typing import Any

from appliance.convert.conversion import Conversion
from appliance.convert.package.served_graph import ServedGraph
from appliance.convert.report.report_document import plain, source_name
from appliance.convert.validation.worst_difference import worst_difference
from appliance.convert.variant import Variant


def provenance(conversion: Conversion, served: ServedGraph, onnx_digests: Mapping[str, str], when: str) -> bytes:
    """Write the document. onnx_digests: path in the package -> 'sha256:...'."""
    request, exported = conversion.request, conversion.exported
    document = {
        "name": served.name,
        "version": str(request.version),
        "licence": request.licence,
        "base_model": request.base_model,
        "author": request.author,
        "when": when,
        "task": exported.task.value,
        "architecture": exported.architecture,
        "graph": served.graph.name,
        "source": {"name": source_name(request), "files": dict(sorted(conversion.source_digests.items()))},
        "tool_versions": dict(sorted(exported.tool_versions.items())),
        "options": _options(conversion),
        "samples_are_real": exported.samples_are_real,
        "profiles": _profiles(served),
        "validation": [_variant(variant, served.graph.name) for variant in conversion.variants],
        "onnx": dict(onnx_digests),
    }
    return (json.dumps(plain(document), indent=2, allow_nan=False) + "\n").encode()


def _options(conversion: Conversion) -> dict[str, Any]:
    request = conversion.request
    return {
        "precisions": [precision.value for precision in request.precisions],
        "target": request.target.value,
        "max_batch_size": request.max_batch_size,
        "max_length": request.max_length,
        "allow_pickle": request.allow_pickle,
        "own_samples": request.samples is not None,
        "own_calibration": request.calibration is not None,
    }


def _profiles(served: ServedGraph) -> dict[str, Any]:
    return {
        name: {"min": profile.min, "opt": profile.opt, "max": profile.max}
        for name, profile in served.graph.profiles.items()
    }


def _variant(variant: Variant, graph: str) -> dict[str, Any]:
    """Without the verdict, which may speak of times."""
    comparisons = [comparison for comparison in variant.comparisons if comparison.graph == graph]
    worst = worst_difference(comparisons)
    return {
        "form": variant.form.value,
        "chosen": variant.chosen,
        "within_tolerance": variant.within_tolerance,
        "cases": [comparison.case for comparison in comparisons],
        "worst": worst and {name: getattr(worst, name) for name in _NUMBERS},
        "tolerance": {name: getattr(variant.tolerance, name) for name in _BOUNDS},
    }


_BOUNDS = ("relative_error", "cosine", "agreement")
_NUMBERS = ("absolute_error", *_BOUNDS)
