"""`appliance doctor`: examine this box, with or without a running daemon."""

from appliance.cli.options import ConfigOption, JsonOption, StateOption
from appliance.cli.output import print_json, print_table
from appliance.errors import Failed


def doctor(config: ConfigOption = None, state: StateOption = None, *, as_json: JsonOption = False) -> None:
    """Examine this box: software, backends, state directory, daemon. Says what to do about each finding."""
    from appliance.cli.check import Result  # noqa: PLC0415  (heavy: not for --help)
    from appliance.cli.checks import run_checks  # noqa: PLC0415

    checks = run_checks(config, state)
    if as_json:
        print_json(
            [
                {"name": check.name, "result": check.result.value, "finding": check.finding, "remedy": check.remedy}
                for check in checks
            ]
        )
    else:
        rows = [
            (
                check.name,
                check.result.value,
                f"{check.finding}\nnext: {check.remedy}" if check.remedy else check.finding,
            )
            for check in checks
        ]
        print_table(("CHECK", "RESULT", "FINDING"), rows)
    errors = [check for check in checks if check.result is Result.ERROR]
    if errors:
        raise Failed(
            f"{len(errors)} of {len(checks)} checks failed: {errors[0].name}: {errors[0].finding}",
            hint=errors[0].remedy,
        )
