"""A conversion from beginning to end: look, export, compare, make variants, write. Nothing is written before the end.

Ownership: everything in between lies in one scratch folder that is gone afterwards, whatever happened. The heavy
libraries are imported by the step that needs them, after the process has gone offline.
"""

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory, gettempdir

import psutil

from appliance.convert.comparison import Comparison, Tolerance
from appliance.convert.conversion import Conversion
from appliance.convert.exported_model import ExportedModel, Graph
from appliance.convert.foreign_errors import is_no_space
from appliance.convert.forms.choice import refuse_unusable
from appliance.convert.forms.one_size import narrowed_for_tensorrt
from appliance.convert.forms.variants import make_variants
from appliance.convert.licence import check_licence, licence_of_source
from appliance.convert.offline import caches_in, go_offline
from appliance.convert.package.package_writer import require_free_place, write_packages
from appliance.convert.precision import Form, Target
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.report.report_document import report_document
from appliance.convert.report.report_numbers import size_text
from appliance.convert.report.report_page import report_page
from appliance.convert.request import ConversionRequest
from appliance.convert.sources.source_kind import SourceKind, existing_source, source_kind
from appliance.convert.validation.reading import Reading
from appliance.convert.validation.tolerance_check import refuse_outside
from appliance.convert.validation.tolerances import tolerance
from appliance.convert.validation.validation import ReferenceRuns, require_meaningful, validate
from appliance.durable import hash_file

Advance = Callable[[str, int, int], None]
Tell = Callable[[str], None]

_STEPS = ("looking at the source", "exporting", "comparing with the source", "writing the package")
PAGE, DOCUMENT = "conversion.html", "conversion.json"


@dataclass(slots=True)
class _Story:
    """Says which step runs, and what it does."""

    advance: Advance
    step: int = 0

    def begin(self, step: int) -> Tell:
        self.step = step
        self.tell(_STEPS[step])
        return self.tell

    def tell(self, text: str) -> None:
        self.advance(text, self.step, len(_STEPS))


@dataclass(frozen=True, slots=True)
class _Source:
    exported: ExportedModel
    digests: Mapping[str, str]


def convert(request: ConversionRequest, advance: Advance, *, when: str) -> tuple[Conversion, list[Path]]:
    """Convert, and return what was found and the directories of the packages. Raises ConversionRefused.

    when: the moment that the package names, as text; the only thing in it that two runs may differ in, beside
    measured latencies.
    """
    story = _Story(advance)
    story.begin(0)
    kind = source_kind(request.source)
    licence = check_licence(request.licence, said_by_source=_said_licence(request, kind))
    request = replace(request, licence=licence)
    require_free_place(request)
    go_offline()
    with _scratch_folder() as scratch, caches_in(scratch / "caches"):
        folder = scratch / "graphs"
        folder.mkdir()
        source = _export(kind, request, folder, story.begin(1))
        conversion = _examine(source, request, folder, story.begin(2))
        pages = {
            PAGE: report_page(conversion).encode(),
            DOCUMENT: (json.dumps(report_document(conversion), indent=2) + "\n").encode(),
        }
        packages = write_packages(conversion, pages, story.begin(3), when=when)
    advance("done", len(_STEPS), len(_STEPS))
    return conversion, packages


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    try:
        with TemporaryDirectory(prefix="appliance-convert-") as folder:
            yield Path(folder)
    except ConversionRefused:
        raise
    except Exception as error:
        if not is_no_space(error):
            raise
        place = Path(gettempdir())
        raise ConversionRefused(
            Reason.DISK_FULL,
            f"no room in {place} for what lies between source and package: {size_text(disk_usage(place).free)} free",
            hint="make room, or name a folder on a larger disk: TMPDIR=DIR appliance convert ...",
        ) from error


def _said_licence(request: ConversionRequest, kind: SourceKind) -> str:
    return licence_of_source(Path(request.source)) if kind is SourceKind.HUGGING_FACE else ""


def _export(kind: SourceKind, request: ConversionRequest, folder: Path, tell: Tell) -> _Source:
    match kind:
        case SourceKind.HUGGING_FACE:
            return _export_huggingface(request, folder, tell)
        case SourceKind.ONNX:
            from appliance.convert.sources.onnx_source import export_onnx as export  # noqa: PLC0415
        case SourceKind.TORCH_PROGRAM:
            from appliance.convert.sources.torch_program_source import export_torch_program as export  # noqa: PLC0415
        case SourceKind.SCIKIT_LEARN:
            from appliance.convert.sources.scikit_learn_source import export_scikit_learn as export  # noqa: PLC0415
    path = existing_source(request.source)
    exported = export(path, folder, request, tell)
    return _Source(exported, {file.name: f"sha256:{hash_file(file)}" for file in (path, *exported.source_files)})


def _export_huggingface(request: ConversionRequest, folder: Path, tell: Tell) -> _Source:
    from appliance.convert.sources.huggingface_source import read_huggingface_source  # noqa: PLC0415
    from appliance.convert.sources.weights import check_weights  # noqa: PLC0415

    source = read_huggingface_source(request.source, request.task, allow_pickle=request.allow_pickle)
    if not source.pickled:
        tell("looking at the weights")
        check_weights(source.weights)
    tell("starting PyTorch and Optimum")
    from appliance.convert.sources.huggingface_export import export_huggingface  # noqa: PLC0415  (seconds)

    return _Source(export_huggingface(source, folder, request, tell), source.digests)


def _examine(source: _Source, request: ConversionRequest, folder: Path, tell: Tell) -> Conversion:
    """Compare the FP32 graphs with the source, then whatever other forms were asked for."""
    exported, runs = source.exported, ReferenceRuns()
    if request.target is Target.TENSORRT:
        exported = narrowed_for_tensorrt(exported, tell)
    for graph in exported.graphs:
        require_meaningful(graph, runs)
    reading = Reading(label_count=len(exported.labels), blank_token=exported.blank_token)

    def compare(graph: Graph, file: Path) -> Sequence[Comparison]:
        found = validate(graph, file, exported.task, tell, runs=runs, reading=reading)
        if file == graph.file:  # nothing else is made of a graph that is wrong itself
            refuse_outside(found, allowed(Form.FP32))
        return found

    def allowed(form: Form) -> Tolerance:
        return tolerance(exported.task, form)

    calibration = {graph.name: graph.calibration or graph.samples for graph in exported.graphs}
    variants = make_variants(exported, request, calibration, folder, compare, allowed, tell)
    refuse_unusable(variants, request.target)
    return Conversion(request, exported, source.digests, variants, _machine())


def _machine() -> str:
    return f"{platform.machine()}, {psutil.cpu_count()} cores"
