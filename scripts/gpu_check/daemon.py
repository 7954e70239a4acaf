"""The daemon under check, and what it is asked."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
from benchmark.server_process import ServerProcess, free_port

from appliance.cli.asking import ServedSignature, served_signature
from appliance.cli.client import InferenceClient, connect
from appliance.errors import ApplianceError
from gpu_check.packages import Workload

# What asking a daemon may raise when it fails or is gone.
DAEMON_ERRORS = (ApplianceError, grpc.RpcError, psutil.Error)


def words_of(error: Exception) -> str:
    """Write one of DAEMON_ERRORS for the report."""
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error)


def start_daemon(workload: Workload, state: Path) -> ServerProcess:
    """Return the daemon as an operator starts it; `with` starts it and waits until it is ready."""
    port = free_port()
    options = ["--models", str(workload.folder), "--listen", f"127.0.0.1:{port}", "--state", str(state)]
    return ServerProcess("daemon", [sys.executable, "-m", "appliance.cli.main", "serve", *options], port)


@contextmanager
def ask_daemon(daemon: ServerProcess) -> Iterator[InferenceClient]:
    """Open a channel of the command line's own kind."""
    with connect(daemon.address, hint="scripts/gpu-check") as connection:
        yield InferenceClient(connection)


def signature_of(daemon: ServerProcess, model: str) -> ServedSignature:
    """What a served model takes and gives."""
    with ask_daemon(daemon) as client:
        return served_signature(client, model, "")


def computed_by(daemon: ServerProcess, model: str) -> tuple[str, str]:
    """Return the path that computes a model ("tensorrt") and the device, in the daemon's own words."""
    with ask_daemon(daemon) as client:
        parameters = client.config(model, "").config.parameters
    return parameters["execution_path"].string_value, parameters["execution_device"].string_value
