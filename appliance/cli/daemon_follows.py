"""After a change of the registry: let a running daemon follow, and see whether it could."""

from appliance.cli.client import connect_admin
from appliance.cli.documents import document_of
from appliance.cli.exit_codes import DaemonUnreachable
from appliance.cli.output import print_json, say
from appliance.cli.status import models_from, show_models
from appliance.errors import Failed
from appliance.rpc.pb.appliance_admin_pb2 import ModelStatus
from appliance.state_layout import StateLayout


def let_daemon_follow(layout: StateLayout, name: str) -> list[ModelStatus] | None:
    """Let the daemon of this state directory reconcile; return how this model's versions stand then.

    None: no daemon serves this registry, so nothing changes before one starts.
    """
    try:
        with connect_admin(layout) as daemon:
            source = daemon.status().model_source
            if source.WhichOneof("source") != "registry_path":
                say(f"the running daemon serves {models_from(source)}, not this registry: nothing changes there")
                return None
            say("waiting for the daemon to load and unload")
            answer = daemon.reconcile()
    except DaemonUnreachable as error:
        say(f"takes effect when the daemon starts ({error.message})")
        return None
    return [model for model in answer.models if model.name == name]


def show(models: list[ModelStatus] | None, *, as_json: bool) -> None:
    """Print how the model's versions stand; as JSON also when no daemon runs."""
    if as_json:
        print_json({"daemon": models is not None, "models": [document_of(model) for model in models or []]})
    elif models:
        show_models(models)


def check_ready(models: list[ModelStatus] | None, name: str, version: int) -> None:
    """Raise Failed with the daemon's reason unless this version is READY (or no daemon runs)."""
    if models is None:
        return
    found = next((model for model in models if model.version == str(version)), None)
    if found is None:
        raise Failed(f"the daemon does not know '{name}' version {version}", hint="appliance status")
    if found.state == "LOADING":
        raise Failed(f"'{name}' version {version} is still LOADING", hint="follow it with: appliance status")
    if found.state != "READY":
        raise Failed(
            f"'{name}' version {version} is {found.state}: {found.reason or 'the daemon gave no reason'}",
            hint=f"correct that, then: appliance models activate {name} {version}",
        )
