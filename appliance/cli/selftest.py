"""`appliance selftest`: do the served models answer as they did when they were made?"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.infer import AddressOption, TimeoutOption
from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import print_json, print_table, say
from appliance.errors import Failed
from appliance.state_layout import StateLayout

if TYPE_CHECKING:
    from appliance.cli.golden_run import Finding


def selftest(
    models: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Take the samples from DIR/MODEL/golden. Default: from the registry."),
    ] = None,
    address: AddressOption = None,
    timeout: TimeoutOption = 60,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    first: Annotated[bool, typer.Option("--first", help="Only the first sample of each model.")] = False,
    boot: Annotated[
        bool, typer.Option("--boot", help="Wait until the appliance has come up, and compute nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let the served models answer their golden samples, and compare.

    Each package says in golden/golden.toml how close an answer must be.
    """
    if boot:
        _wait_for_boot(read_settings(config, state).layout, timeout, as_json=as_json)
        return
    from appliance.cli.client import connect_inference  # noqa: PLC0415  (heavy: not for --help)
    from appliance.cli.golden_run import GoldenRun  # noqa: PLC0415

    layout = read_settings(config, state).layout
    with connect_inference(address, layout) as client:
        findings = list(GoldenRun(client, models, layout, timeout, first).findings())
    if as_json:
        print_json([asdict(finding) | {"ok": not finding.problem} for finding in findings])
    elif findings:
        print_table(("MODEL", "VERSION", "SAMPLE", "ANSWER", "EXPECTED", "OK"), list(map(_row, findings)))
    if not findings:
        raise Failed("no served model has golden samples, so nothing was tried", hint="appliance status")
    wrong = sum(1 for finding in findings if finding.problem)
    if wrong:
        raise Failed(f"{wrong} of {len(findings)} golden samples went wrong", hint="see the states: appliance status")


def _wait_for_boot(layout: StateLayout, timeout_s: float, *, as_json: bool) -> None:
    from appliance.cli.boot_check import require_up  # noqa: PLC0415  (heavy: not for --help)

    up = require_up(layout, timeout_s)
    if as_json:
        print_json({"up": up})
    else:
        say(up)


def _row(finding: "Finding") -> tuple[str, ...]:
    verdict = f"NO: {finding.problem}" if finding.problem else "yes"
    return finding.model, finding.version, finding.sample, finding.answer, finding.expected, verdict
