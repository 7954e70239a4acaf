"""Makes the other forms of a model that --precision asks for, measures all of them and chooses one.

Invariants: FP32 comes first and is always there; a form that cannot be written or fails is in the list too, with the
reason as its verdict, and takes nothing else with it; scratch files are gone at the end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from appliance.backends.onnx_reasons import short_reason
from appliance.convert.comparison import Comparison, Tolerance
from appliance.convert.exported_model import ExportedModel, Graph
from appliance.convert.forms.choice import FORMS_FOR, choose
from appliance.convert.forms.form_writer import FormWriter
from appliance.convert.forms.latency import measure_latencies
from appliance.convert.forms.tensorrt_parser import ParserReport, ParserVerdict, check_tensorrt
from appliance.convert.precision import Form, Precision, Target
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Sample
from appliance.convert.sources.graph_file import data_file
from appliance.convert.variant import Latency, Variant
from appliance.errors import ApplianceError

Compare = Callable[[Graph, Path], Sequence[Comparison]]
Tell = Callable[[str], None]

_FORMS_OF = {
    Precision.FP32: (),
    Precision.FP16: (Form.FP16,),
    Precision.INT8: (Form.INT8_DYNAMIC, Form.INT8_CPU, Form.INT8_TENSORRT),
}


def make_variants(
    exported: ExportedModel,
    request: ConversionRequest,
    calibration: Mapping[str, Sequence[Sample]],
    folder: Path,
    compare: Compare,
    tolerance: Callable[[Form], Tolerance],
    tell: Tell,
) -> list[Variant]:
    """Write the forms into `folder`, FP32 excepted, which stays where it is; calibration: graph -> samples.

    Raises what `compare` raises for FP32: without it there is nothing to measure others by.
    """
    tell("fp32: comparing with the source")
    fp32 = _compared(exported, {graph.name: graph.file for graph in exported.graphs}, Form.FP32, compare, tolerance)
    variants = [fp32]
    with TemporaryDirectory(dir=folder, prefix="scratch-") as scratch:
        writer = FormWriter(exported.graphs, calibration, folder, Path(scratch))
        for form in forms_for(request.precisions):
            tell(f"{form.value}: writing and comparing with the source")
            variants.append(_attempted(exported, form, writer, compare, tolerance))
    tell("measuring latencies")
    variants = _timed(exported.graphs, variants)
    if request.target is Target.TENSORRT:
        variants = [_parsed(exported.graphs, variant, tell) for variant in variants]
    return choose(variants, request.target)


def forms_for(precisions: Sequence[Precision]) -> list[Form]:
    """Return the forms beside FP32 that these precisions stand for, each once."""
    return list(
        dict.fromkeys(form for precision in Precision if precision in precisions for form in _FORMS_OF[precision])
    )


def _attempted(
    exported: ExportedModel,
    form: Form,
    writer: FormWriter,
    compare: Compare,
    tolerance: Callable[[Form], Tolerance],
) -> Variant:
    files: dict[str, Path] = {}
    try:
        files = writer.write(form)
        return _compared(exported, files, form, compare, tolerance)
    except OSError:
        raise  # a full disk is no fault of the form
    except Exception as error:  # noqa: BLE001  # whatever a tool or a run raises: the other forms must not be lost
        verdict = error.message if isinstance(error, ApplianceError) else f"it fails: {short_reason(error)}"
        return Variant(form, files, _size_bytes(files), (), tolerance(form), (), verdict=verdict)


def _compared(
    exported: ExportedModel,
    files: Mapping[str, Path],
    form: Form,
    compare: Compare,
    tolerance: Callable[[Form], Tolerance],
) -> Variant:
    comparisons = [each for graph in exported.graphs for each in compare(graph, files[graph.name])]
    return Variant(form, files, _size_bytes(files), comparisons, tolerance(form), ())


def _size_bytes(files: Mapping[str, Path]) -> int:
    return sum(each.stat().st_size for file in files.values() for each in (file, data_file(file)) if each.exists())


def _timed(graphs: Sequence[Graph], variants: Sequence[Variant]) -> list[Variant]:
    """Measure what could be compared; a model of two graphs takes as long as one run of each."""
    running = [variant for variant in variants if not variant.verdict]
    by_graph = [
        measure_latencies([variant.graphs[graph.name] for variant in running], graph.batches) for graph in graphs
    ]
    latencies = {
        variant.form: _summed([of_graph[index] for of_graph in by_graph]) for index, variant in enumerate(running)
    }
    return [replace(variant, latencies=latencies.get(variant.form, ())) for variant in variants]


def _summed(by_graph: Sequence[Sequence[Latency]]) -> list[Latency]:
    """Add up the graphs at the batch sizes that all of them were measured at."""
    sizes = [{latency.batch_size: latency for latency in latencies} for latencies in by_graph]
    common = [size for size in sizes[0] if all(size in each for each in sizes)]
    return [
        Latency(size, sum(each[size].median_ms for each in sizes), min(each[size].runs for each in sizes))
        for size in common
    ]


def _parsed(graphs: Sequence[Graph], variant: Variant, tell: Tell) -> Variant:
    """Ask TensorRT's parser about a form that is meant for it; what it does not accept cannot be used."""
    if variant.verdict or variant.form not in FORMS_FOR[Target.TENSORRT]:
        return variant
    tell(f"{variant.form.value}: asking TensorRT's parser")
    reports = [(graph.name, check_tensorrt(variant.graphs[graph.name], graph.profiles)) for graph in graphs]
    worst = next(((name, each) for name, each in reports if not _passes(each)), None)
    if worst is None:
        return replace(variant, parser=str(reports[0][1]))
    name, report = worst
    return replace(variant, parser=f"{name} {report}", verdict=f"TensorRT's parser, {name}: {report}")


def _passes(report: ParserReport) -> bool:
    return report.verdict in (ParserVerdict.ACCEPTED, ParserVerdict.NOT_INSTALLED)
