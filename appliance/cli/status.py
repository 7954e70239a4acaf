"""`appliance status`: what the running daemon says of itself, on one screen."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import format_duration, format_size, print_facts, print_json, print_table, print_text

if TYPE_CHECKING:
    from appliance.rpc.pb import appliance_admin_pb2 as pb

_COLUMNS = ("MODEL", "VERSION", "STATE", "DEVICE", "INSTANCES", "INFERENCES")


def status(config: ConfigOption = None, state: StateOption = None, *, as_json: JsonOption = False) -> None:
    """Show what the daemon serves, and why something is not served."""
    from appliance.cli.client import connect_admin  # noqa: PLC0415  (heavy: not for --help)
    from appliance.cli.documents import document_of  # noqa: PLC0415

    with connect_admin(read_settings(config, state).layout) as daemon:
        answer = daemon.status()
    if as_json:
        print_json(document_of(answer))
    else:
        _show(answer)


def _show(answer: "pb.StatusResponse") -> None:
    print_facts(
        [
            ("state", answer.state),
            ("models", models_from(answer.model_source)),
            *_device_facts(answer),
            *(("listening on", listener) for listener in answer.listeners),
            ("up for", format_duration(answer.uptime_s)),
            ("memory", format_size(answer.rss_bytes)),
            ("software", f"appliance {answer.product_version}, {answer.transport}, process {answer.pid}"),
        ]
    )
    print_text("")
    if answer.models:
        show_models(answer.models)
    else:
        print_text("no models (add one: appliance models add DIR)")


def _device_facts(answer: "pb.StatusResponse") -> list[tuple[str, object]]:
    if not answer.HasField("device"):
        return [("sealed", "no: anybody with access to this box may add models (appliance provision)")]
    device = answer.device
    facts: list[tuple[str, object]] = [
        ("sealed", f"{device.serial}, {device.hardware}, at {device.site}"),
        ("trusts", device.problem or f"root {device.root_version}, fingerprint {device.root_fingerprint[:16]}"),
        ("ticket", f"{device.ticket_id} ({device.ticket_seq})" if device.ticket_seq else "none yet"),
    ]
    if answer.HasField("update"):
        done, total = answer.update.done, answer.update.total
        share = f" {done / total:.0%}" if total else ""
        facts.append(("update", f"{answer.update.step} {answer.update.what}{share}"))
    return facts


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
