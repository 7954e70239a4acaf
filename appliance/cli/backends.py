"""`appliance backends`: what this box computes with."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appliance.cli.options import JsonOption
from appliance.cli.output import print_facts, print_json, print_table
from appliance.errors import Failed

if TYPE_CHECKING:
    from appliance.backends.probe import FlavourReport, ProbeReport, Trial

app = typer.Typer(help="See what this box computes with.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _backends() -> None:
    """See what this box computes with."""


@app.command()
def probe(
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Give up what takes longer.", show_default=True)
    ] = 120,
    *,
    as_json: JsonOption = False,
) -> None:
    """Try TensorRT, CUDA and the CPU for real. Says what works, and what to do about the rest.

    Exit status 1 if nothing on this box can compute.
    """
    from appliance.backends import probe as probing  # noqa: PLC0415  (heavy: not for --help)

    report = probing.probe(timeout)
    if as_json:
        print_json(probe_document(report))
    else:
        _show(report)
    if not any(path.usable for path in report.paths):
        raise Failed(f"nothing on this box can compute: {report.paths[-1].detail}", hint=report.paths[-1].remedy)


def probe_document(report: "ProbeReport") -> dict[str, Any]:
    """Write a report as JSON has it."""
    machine = report.machine
    return {
        "paths": [asdict(path) for path in report.paths],
        "gpus": [
            {
                "ordinal": gpu.ordinal,
                "uuid": gpu.uuid,
                "name": gpu.name,
                "compute_capability": gpu.compute_capability,
                "total_bytes": gpu.total_bytes,
                "integrated": gpu.integrated,
            }
            for gpu in machine.gpus
        ],
        "driver": machine.driver,
        "cuda": machine.cuda,
        "l4t": machine.l4t,
        "problems": [problem for problem in (machine.problem, machine.jetpack_problem) if problem],
        "tensorrt": [_flavour_document(flavour) for flavour in report.flavours],
        "onnxruntime": None if report.onnxruntime is None else asdict(report.onnxruntime),
    }


def _flavour_document(flavour: "FlavourReport") -> dict[str, Any]:
    return {
        "flavour": flavour.name,
        "version": flavour.version,
        "targets": list(flavour.targets),
        "loads": _trial_document(flavour.loads),
        "builds": _trial_document(flavour.builds),
        "runs": _trial_document(flavour.runs),
    }


def _trial_document(trial: "Trial") -> dict[str, str]:
    return {"outcome": trial.outcome.value, "detail": trial.detail, "remedy": trial.remedy}


def _show(report: "ProbeReport") -> None:
    rows = [
        (path.path, "yes" if path.usable else "no", "\nnext: ".join(filter(None, (path.detail, path.remedy))))
        for path in report.paths
    ]
    print_table(("PATH", "USABLE", "FINDING"), rows)
    machine = report.machine
    facts: list[tuple[str, object]] = [
        ("gpu", f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.uuid}") for gpu in machine.gpus
    ]
    facts += [(name, value) for name, value in (("driver", machine.driver), ("jetson linux", machine.l4t)) if value]
    for flavour in report.flavours:
        steps = {"loads": flavour.loads, "builds": flavour.builds, "runs": flavour.runs}
        facts += [(flavour.name, f"{step}: {trial.outcome.value}, {trial.detail}") for step, trial in steps.items()]
    print_facts(facts)
