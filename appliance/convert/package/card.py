"""card.md: what a person should know before using a converted model. Says only what is known.

Invariant: no measured times (they stand in conversion.html), so that two conversions give the same card.
"""

import json
from collections.abc import Sequence

from appliance.convert.conversion import Conversion
from appliance.convert.package.golden_writer import GoldenSet
from appliance.convert.package.model_toml import describe
from appliance.convert.package.package_layout import packaged_files
from appliance.convert.package.processing_words import processing_words
from appliance.convert.package.served_graph import ServedGraph
from appliance.convert.package.usage_example import usage_example
from appliance.convert.report.report_document import source_name
from appliance.convert.report.report_numbers import ABSENT, FORM_NAMES, cosine_text, error_text, share_text, size_text
from appliance.convert.task import Task
from appliance.convert.validation.worst_difference import worst_difference
from appliance.convert.variant import Variant
from appliance.model.signature import SignatureTensor

SOURCE_CARD = "source-card.md"
_MOST_LABELS = 20  # in a sentence; labels.txt has all


def card(conversion: Conversion, served: ServedGraph, golden: GoldenSet) -> str:
    """Write the card of one package."""
    sections = [
        _front_matter(conversion),
        f"# {served.name}\n\n{describe(conversion, served)}, version {conversion.request.version}.",
        f"## For whom, for what\n{_use(conversion)}",
        f"## Limits\n{_limits(conversion, golden)}",
        f"## Inputs and outputs\n{_tensors(conversion, served)}",
        f"## Before and after\n{_processing(conversion)}",
        f"## How close to the source\n{_closeness(conversion, served)}",
        f"## How to call it\n{usage_example(served, golden)}",
        f"## Licence, source and data\n{_source(conversion)}",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(conversion: Conversion) -> str:
    task = conversion.exported.task
    tag = [] if task is Task.TENSORS else [f"pipeline_tag: {task.value}"]
    licence = json.dumps(_line(conversion.request.licence), ensure_ascii=False)  # JSON's strings are YAML's too
    return "\n".join(["---", f"license: {licence}", "library_name: onnx", *tag, "---"])


def _use(conversion: Conversion) -> str:
    return _line(conversion.request.intended_use) or (
        "Whoever converted it has not said what it is for. Read what the makers of the source say, and write it here."
    )


def _limits(conversion: Conversion, golden: GoldenSet) -> str:
    real = conversion.exported.samples_are_real
    makers = f" What its makers measured: `{SOURCE_CARD}`." if conversion.exported.source_card else ""
    count = len(golden.samples)
    return _items(
        "How often the model is right was not measured here: only that it computes what its source computes. "
        f"Measure it on data of your own before you rely on it.{makers}",
        "The comparison used inputs that the person who converted it brought."
        if real
        else "The comparison used inputs that the converter made; they say nothing about real ones.",
        "It answers any input, also one that shows nothing that it knows.",
        (
            f"golden/ holds {count} of the inputs that were brought: they go wherever this package goes."
            if real
            else ""
        )
        if count
        else "There are no golden samples: `appliance selftest` has nothing to compare.",
    )


def _tensors(conversion: Conversion, served: ServedGraph) -> str:
    lines = [f"Input {_tensor(served, tensor, is_input=True)}" for tensor in served.signature.inputs]
    lines += [f"Output {_tensor(served, tensor, is_input=False)}" for tensor in served.signature.outputs]
    batches = (
        f"N is the batch, at most {served.max_batch_size}; the server joins requests."
        if served.max_batch_size
        else "The server does not join requests."
    )
    return _items(*lines, batches, _labels(conversion.exported.labels, served.label_output))


def _tensor(served: ServedGraph, tensor: SignatureTensor, *, is_input: bool) -> str:
    profile = served.graph.profiles.get(tensor.name) if is_input else None
    axes = []
    for axis, size in enumerate(tensor.shape):
        if axis == 0 and served.max_batch_size:
            axes.append("N")
        elif size >= 0:
            axes.append(str(size))
        else:
            axes.append(f"{profile.min[axis]} to {profile.max[axis]}" if profile else "any")
    optional = " (may be left out)" if tensor.optional else ""
    return f"`{tensor.name}`: {tensor.datatype.wire_name} [{', '.join(axes)}]{optional}"


def _labels(labels: Sequence[str], output: str) -> str:
    if not labels:
        return ""
    shown = ", ".join(map(_line, labels[:_MOST_LABELS])) + (", ..." if len(labels) > _MOST_LABELS else "")
    named = f"the classes of `{output}`" if output else "the classes"
    return f"labels.txt names {named}, {len(labels)} in all: {shown}"


def _processing(conversion: Conversion) -> str:
    words = processing_words(conversion.exported.preprocessing)
    if not words:
        return "The source does not say how inputs are prepared: they go in as they are."
    return "\n".join(["In the words of the source's own files (`processor/`):", "", *words])


def _closeness(conversion: Conversion, served: ServedGraph) -> str:
    graph = served.graph.name
    cases = [comparison.case for comparison in conversion.validation if comparison.graph == graph]
    header = "| variant | file | size | largest error, of the largest value | cosine | agreement | within tolerance |"
    rows = [_row(conversion, variant, graph) for variant in conversion.variants]
    return "\n".join(
        [
            f"Each variant and the source ran on the same inputs: {'; '.join(cases)}. The worst of them:",
            "",
            header,
            "|---" * (header.count("|") - 1) + "|",
            *rows,
            "",
            f"Served by default: {FORM_NAMES[conversion.chosen.form]}. Times and reasons: `conversion.html`.",
        ]
    )


def _row(conversion: Conversion, variant: Variant, graph: str) -> str:
    file = packaged_files(variant, conversion.request.version).get(graph, "left out")
    worst = worst_difference([comparison for comparison in variant.comparisons if comparison.graph == graph])
    numbers = (
        (ABSENT, ABSENT, ABSENT)
        if worst is None
        else (error_text(worst.relative_error), cosine_text(worst.cosine), share_text(worst.agreement))
    )
    verdict = "yes" if variant.within_tolerance else "no"
    return f"| {' | '.join([FORM_NAMES[variant.form], file, size_text(variant.size_bytes), *numbers, verdict])} |"


def _source(conversion: Conversion) -> str:
    request, exported = conversion.request, conversion.exported
    return _items(
        f"Licence: {_line(request.licence)}",
        f"Source: {_line(source_name(request))} (digests of its files: provenance.json)",
        f"Base model: {_line(request.base_model) or 'not stated'}",
        f"Architecture: {_line(exported.architecture)}",
        f"Training data: in the words of the source's makers, `{SOURCE_CARD}`"
        if exported.source_card
        else "Training data: not known to the converter; see what the makers of the source say.",
        f"Converted by: {_line(request.author)}" if request.author else "",
    )


def _items(*lines: str) -> str:
    return "\n".join(f"* {line}" for line in lines if line)


def _line(text: str) -> str:
    """Keep words from elsewhere in their line."""
    return " ".join(text.split())
