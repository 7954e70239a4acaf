"""The parts of the report that were not measured: what the model is, how to feed it, and what is not known."""

import json
from collections.abc import Mapping
from typing import Any

from appliance.convert.conversion import Conversion
from appliance.convert.exported_model import ExportedModel, Graph
from appliance.convert.report.markup import Markup, element, joined
from appliance.convert.report.report_document import plain, source_name
from appliance.convert.report.report_numbers import counted, shape_text
from appliance.convert.report.report_tables import two_columns
from appliance.model.engine import ShapeRange

_NOT_SAID = "not stated"
_LABELS_SHOWN = 12
_MADE_SAMPLES = (
    "The inputs were made by the converter. They show that two computations agree, not that the model is right for "
    "your data: convert again with --samples and a folder of your own."
)
_NO_ACCURACY = (
    "How good the model is at its task was not measured, only how closely the ONNX model follows the source."
)
_OTHER_MACHINES = (
    "Latencies were measured in ONNX Runtime on one thread of this machine's processor. They say nothing about other "
    "machines or about GPUs; forms that are made for a GPU may well be slow here."
)


def facts(conversion: Conversion) -> Markup:
    """List what the model is and where it came from."""
    request, exported = conversion.request, conversion.exported
    rows: Mapping[str, str] = {
        "Model": f"{request.name}, version {request.version}",
        "Task": exported.task.value,
        "Architecture": exported.architecture,
        "Licence": request.licence,
        "Base model": request.base_model or _NOT_SAID,
        "Intended use": request.intended_use or _NOT_SAID,
        "Author": request.author or _NOT_SAID,
        "Source": source_name(request),
        "Labels": _labels(exported),
        "Samples": _samples(exported),
        "Measured on": conversion.machine,
        "Made for": request.target.value,
    }
    pairs = [part for name, value in rows.items() for part in (element("dt", name), element("dd", value))]
    return element("dl", *pairs)


def digests(conversion: Conversion) -> Markup:
    """List the files that were read."""
    files = {name: element("code", digest) for name, digest in sorted(conversion.source_digests.items())}
    return two_columns("Files of the source", "Files of the source", ("File", "Digest"), files)


def tools(conversion: Conversion) -> Markup:
    """List what made it; on the same kind of processor the same versions give the same bytes."""
    versions = dict(sorted(conversion.exported.tool_versions.items()))
    caption = "Tools; on the same kind of processor the same versions give the same bytes"
    return two_columns("Tools", caption, ("Tool", "Version"), versions)


def preprocessing(exported: ExportedModel) -> Markup:
    """Show the processors' own words, one table for each."""
    if not exported.preprocessing:
        return element("p", "The source has no processor: clients send the arrays as the model takes them.")
    described: dict[str, Any] = plain(exported.preprocessing)
    return joined(*(_processor(name, content) for name, content in described.items()))


def shapes(exported: ExportedModel) -> Markup:
    """Show the shapes that each input takes."""
    rows = {
        _input(graph, name, exported): _range(profile)
        for graph in exported.graphs
        for name, profile in graph.profiles.items()
    }
    return two_columns("Shapes", "Shapes of the inputs, the batch first", ("Input", "Shapes"), rows)


def limits(conversion: Conversion) -> Markup:
    """Say what these numbers do not prove."""
    return element("ul", *(element("li", text) for text in _limits(conversion)))


def _limits(conversion: Conversion) -> list[str]:
    request, exported = conversion.request, conversion.exported
    said = [] if exported.samples_are_real else [_MADE_SAMPLES]
    said += [_NO_ACCURACY, _OTHER_MACHINES, "Shapes outside of those listed below were not tried."]
    if any(not graph.batched for graph in exported.graphs):
        said.append("Rows of a batch depend on each other in this model: the box does not join requests for it.")
    if request.allow_pickle:
        said.append("The weights came in a format that can run code, and --allow-pickle let it.")
    if not request.intended_use:
        said.append("Nobody has said what the model is meant for.")
    return said


def _labels(exported: ExportedModel) -> Markup:
    if not exported.labels:
        return joined("none")
    shown = ", ".join(exported.labels[:_LABELS_SHOWN])
    more = len(exported.labels) - _LABELS_SHOWN
    return joined(counted(len(exported.labels), "label"), f": {shown}", f" and {more} more" if more > 0 else "")


def _samples(exported: ExportedModel) -> Markup:
    count = sum(len(graph.samples) for graph in exported.graphs)
    whose = "brought by the person who converted" if exported.samples_are_real else "made by the converter"
    return joined(counted(count, "input"), f", {whose}")


def _input(graph: Graph, name: str, exported: ExportedModel) -> str:
    return f"{graph.name}: {name}" if len(exported.graphs) > 1 else name


def _range(profile: ShapeRange) -> Markup:
    words = {"from": profile.min, "usually": profile.opt, "to": profile.max}
    return joined(*(element("code", f"{word} {shape_text(shape)}") for word, shape in words.items()))


def _processor(name: str, content: Any) -> Markup:
    settings = content if isinstance(content, dict) else {name: content}
    rows = {key: element("code", _as_json(value)) for key, value in settings.items()}
    return two_columns(f"Preprocessing: {name}", name, ("Setting", "Value"), rows)


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
