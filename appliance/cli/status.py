"""`appliance status`: service, software, models, machine and time on one screen, with or without a daemon."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from appliance.cli.exit_codes import DaemonUnreachable
from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import format_duration, print_facts, print_json, print_table, print_text
from appliance.errors import ApplianceError, Expired

if TYPE_CHECKING:
    from appliance.rpc.pb import appliance_admin_pb2 as pb
    from appliance.settings import Settings

_COLUMNS = ("MODEL", "VERSION", "STATE", "DEVICE", "INSTANCES", "INFERENCES")
_OF_A_DAEMON = ("pid", "start_time_unix_s", "uptime_s", "listeners", "transport", "rss_bytes", "settings")


def status(config: ConfigOption = None, state: StateOption = None, *, as_json: JsonOption = False) -> None:
    """Show service, software, models, machine and clock; why something is not served, and what slows the box down.

    Without a daemon it shows what the disk and the machine tell, and ends with exit status 3.
    """
    from appliance.cli.documents import document_of  # noqa: PLC0415  (heavy: not for --help)
    from appliance.cli.status_screen import status_facts  # noqa: PLC0415

    answer, problem = _ask(read_settings(config, state))
    if as_json:
        document = document_of(answer)
        print_json(document if problem is None else _without_daemon(document, problem))
    else:
        print_facts(status_facts(answer, problem))
        print_text("")
        if answer.models:
            show_models(answer.models)
        elif problem is None or not answer.problems:  # else it is not known whether there are any
            print_text("no models (add one: appliance models add DIR)")
    if problem is not None:
        raise problem


def status_document(settings: "Settings") -> "tuple[dict[str, object], ApplianceError | None]":
    """Describe the box, from its daemon or else from its disk; then also say why the daemon did not answer."""
    from appliance.cli.documents import document_of  # noqa: PLC0415

    answer, problem = _ask(settings)
    document = document_of(answer)
    return (document if problem is None else _without_daemon(document, problem)), problem


def _ask(settings: "Settings") -> "tuple[pb.StatusResponse, ApplianceError | None]":
    """Ask the daemon, or else the disk; then also say why the daemon did not answer."""
    from appliance.cli.client import connect_admin  # noqa: PLC0415
    from appliance.cli.status_from_disk import status_from_disk  # noqa: PLC0415

    try:
        with connect_admin(settings.layout) as daemon:
            return daemon.status(), None
    except Expired as error:
        hangs = DaemonUnreachable(error.message, hint="it hangs; start it again: systemctl restart appliance")
        return status_from_disk(settings), hangs
    except ApplianceError as error:
        return status_from_disk(settings), error


def _without_daemon(document: dict[str, object], problem: ApplianceError) -> dict[str, object]:
    """Leave out what only a daemon has, rather than show zeros."""
    known = {name: value for name, value in document.items() if name not in _OF_A_DAEMON}
    return known | {"reason": problem.message}


def models_from(source: "pb.ModelSource") -> str:
    """Say where the served models come from."""
    if source.WhichOneof("source") == "registry_path":
        return f"registry {source.registry_path.removeprefix('registry ')}"
    path = source.directory_path.removeprefix("directory ")
    return f"directory {path} (unsealed, for development)"


def show_models(models: "Iterable[pb.ModelStatus]") -> None:
    """Print the table of models, and below it the reasons."""
    models = list(models)
    rows = [
        (model.name, model.version, model.state, model.device, model.instances or "", model.inference_count)
        for model in models
    ]
    print_table(_COLUMNS, rows, right=("VERSION", "INSTANCES", "INFERENCES"))
    for model in models:
        if model.HasField("engine_build"):
            print_text(f"{model.name} version {model.version}: {_building(model.engine_build)}")
    with_reason = [model for model in models if model.reason]
    if with_reason:
        print_text("")
    for model in with_reason:
        print_text(
            f"{model.name} {f'version {model.version} ' if model.version else ''}{model.state}: {model.reason}"
        )


def _building(build: "pb.EngineBuild") -> str:
    if not build.elapsed_s:
        return "its engine waits to be built"
    return f"its engine is being built, {build.fraction:.0%} in {format_duration(build.elapsed_s)}: {build.phase}"
