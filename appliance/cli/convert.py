"""`appliance convert`: a local model becomes a validated, documented package. Runs on a workstation."""

import getpass
import importlib.util
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.exit_codes import WrongUsage
from appliance.cli.options import JsonOption
from appliance.cli.output import format_size, print_json, print_table, print_text, progress, say
from appliance.convert.precision import Precision, Target
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.request import ConversionRequest
from appliance.convert.task import Task
from appliance.model.identity import parse_model_name, parse_model_version

if TYPE_CHECKING:
    from appliance.convert.conversion import Conversion

TASKS = ", ".join(task.value for task in Task)
_NEEDED = ("torch", "transformers", "optimum", "onnx")


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="Hugging Face directory, ONNX file (.onnx), torch.export program (.pt2), or scikit-learn pipeline "
            "(.joblib, .pkl).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The package to write; its name becomes the model's.", show_default=False),
    ],
    licence: Annotated[
        str,
        typer.Option("--licence", "--license", metavar="SPDX", help="Licence of the weights: Apache-2.0, MIT, ..."),
    ] = "",
    task: Annotated[
        Task | None,
        typer.Option(metavar="TASK", help=f"What the model is for: {TASKS}. Default: from its config.json."),
    ] = None,
    precision: Annotated[
        list[Precision] | None,
        typer.Option(metavar="FORM", help="fp16 or int8: made beside fp32 and measured; may be repeated."),
    ] = None,
    target: Annotated[Target, typer.Option(help="Where it will run: decides which form is served.")] = Target.CPU,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the model. Default: that of DIR.")] = "",
    version: Annotated[str, typer.Option(metavar="N", help="Its version.")] = "1",
    samples: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Your own pictures, texts, sounds or arrays to compare on. Default: made ones."
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Inputs to calibrate int8 with. Default: the samples.")
    ] = None,
    max_batch_size: Annotated[int, typer.Option(min=1, max=4096, metavar="N", help="Largest batch.")] = 8,
    max_length: Annotated[
        int, typer.Option(min=0, metavar="N", help="Longest text in tokens. 0: the model's own, at most 512.")
    ] = 0,
    base_model: Annotated[str, typer.Option(metavar="TEXT", help="Where the weights came from, for the card.")] = "",
    intended_use: Annotated[str, typer.Option(metavar="TEXT", help="What it is meant for, for the card.")] = "",
    author: Annotated[str, typer.Option(metavar="TEXT", help="Who converts it. Default: your user name.")] = "",
    *,
    allow_pickle: Annotated[
        bool,
        typer.Option("--allow-pickle", help="Open pickled weights. They can run code: only from people you trust."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Convert a local model to a validated ONNX package, without any network.

    The package is written only if ONNX Runtime computes what the source computes. Exit status: 10 and more tell why
    a source was refused; README.md lists them.
    """
    request = ConversionRequest(
        source=source,
        out=out,
        name=parse_model_name(name or out.resolve().name),
        version=parse_model_version(version),
        licence=licence,
        task=task,
        precisions=tuple(dict.fromkeys([Precision.FP32, *(precision or [])])),
        target=target,
        samples=samples,
        calibration=calibration,
        allow_pickle=allow_pickle,
        max_batch_size=max_batch_size,
        base_model=base_model,
        intended_use=intended_use,
        author=author or _user(),
        max_length=max_length,
    )
    _require_extra()
    _convert(request, as_json=as_json)


def _convert(request: ConversionRequest, *, as_json: bool) -> None:
    signal.signal(signal.SIGTERM, _stop)
    from appliance.convert.converter import convert as run  # noqa: PLC0415  (imports torch)
    from appliance.convert.report.report_document import report_document  # noqa: PLC0415

    with progress() as advance:
        conversion, packages = run(request, advance, when=_when())
    if as_json:
        print_json(report_document(conversion) | {"packages": [str(path) for path in packages]})
        return
    _show(conversion)
    for path in packages:
        say(f"wrote {path}; look at {path / 'conversion.html'}")
    say(f"next: appliance models add {' '.join(map(str, packages))}")


def _stop(number: int, _frame: object) -> None:
    """End as Ctrl-C ends it: what lies in scratch folders may be gigabytes, and goes."""
    sys.exit(128 + number)


def _show(conversion: "Conversion") -> None:
    print_text(f"{conversion.request.name}: {conversion.exported.architecture}, {conversion.exported.task.value}")
    rows = []
    for variant in conversion.variants:
        worst = [comparison.difference for comparison in variant.comparisons]
        latency = f"{variant.latencies[0].median_ms:.2f} ms" if variant.latencies else "-"
        rows.append(
            (
                variant.form.value,
                format_size(variant.size_bytes),
                latency,
                f"{max((each.relative_error for each in worst), default=float('nan')):.1e}",
                f"{min((each.agreement for each in worst), default=float('nan')):.3f}",
                "served" if variant.chosen else variant.verdict or "kept",
            )
        )
    if conversion.chosen.parser:
        say(f"TensorRT's parser, {conversion.chosen.form.value}: {conversion.chosen.parser}")
    print_table(("form", "size", "CPU", "error", "agreement", "verdict"), rows, right=("size", "CPU"))


def _when() -> str:
    """The moment of the conversion; SOURCE_DATE_EPOCH, the convention of reproducible builds, stands in for it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch and not epoch.isdigit():
        raise WrongUsage(
            f"SOURCE_DATE_EPOCH is '{epoch}', expected seconds since 1970", hint="unset SOURCE_DATE_EPOCH"
        )
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        return ""


def _require_extra() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConversionRefused(
            Reason.NOT_INSTALLED,
            f"this environment has no {', '.join(missing)}: converting needs the extra [convert]",
            hint="on a workstation, in an environment of its own: pip install 'appliance[convert]'",
        )
