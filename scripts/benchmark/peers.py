"""Starts what is measured: the daemon, the echoes it is compared with, and the model without a server."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import Failed
from benchmark.cases import MAX_BATCH_SIZE, BenchModel
from benchmark.server_process import ServerProcess, free_port

DAEMON = "daemon, grpcio"
NATIVE = "daemon, native"
ECHO = "echo"
NATIVE_ECHO = "native echo"
PACED_ECHO = "echo at the daemon's pace"
OBJECTS_ECHO = "protobuf echo"
WARM_OBJECTS_ECHO = "protobuf echo, warm allocator"


@dataclass(frozen=True, slots=True)
class InProcess:
    """What one model costs without a server, at one batch size."""

    batch_size: int
    interval_us: float  # from start to start of two runs; 0: back to back
    median_us: float  # per run of the whole batch
    cpu_us_per_inference: float


def daemon(models: Path, state: Path, transport: str, name: str = "daemon") -> ServerProcess:
    """Return the daemon as an operator starts it, serving `models`."""
    installed = Path(sys.executable).with_name("appliance")
    program = [str(installed)] if installed.exists() else [sys.executable, "-m", "appliance.cli.main"]
    port = free_port()
    options = ["--models", str(models), "--listen", f"127.0.0.1:{port}", "--state", str(state)]
    setting = f"APPLIANCE_SERVER_TRANSPORT={transport}"
    return ServerProcess(name, ["env", setting, *program, "serve", *options], port)


def echo(model: BenchModel) -> ServerProcess:
    """Return a server that answers with constant bytes."""
    return _echo(ECHO, "raw", model)


def native_echo(model: BenchModel, way: str = "loop", name: str = NATIVE_ECHO) -> ServerProcess:
    """Return a server that answers with constant bytes over the native transport's extension."""
    port = free_port()
    command = [sys.executable, "-m", "benchmark.native_echo", "--port", str(port), "--way", way, *_about(model)]
    return ServerProcess(name, command, port)


def paced_echo(model: BenchModel, group: int, interval_s: float) -> ServerProcess:
    """Return an echo whose answers leave `group` at a time, every `interval_s`."""
    return _echo(PACED_ECHO, "raw", model, "--group", str(group), "--interval-s", str(interval_s))


def objects_echo(model: BenchModel) -> ServerProcess:
    """Return a server that echoes through protobuf objects, written and started the usual way."""
    return _echo(OBJECTS_ECHO, "objects", model)


def warm_objects_echo(model: BenchModel) -> ServerProcess:
    """Return the same server with an allocator that has learnt to keep large blocks."""
    return _echo(WARM_OBJECTS_ECHO, "objects-warm", model)


def _echo(name: str, mode: str, model: BenchModel, *options: str) -> ServerProcess:
    port = free_port()
    command = [sys.executable, "-m", "benchmark.echo_server", "--mode", mode, "--port", str(port)]
    return ServerProcess(name, [*command, *_about(model), *options], port)


def _about(model: BenchModel) -> list[str]:
    options = ["--model", model.name, "--max-batch-size", str(MAX_BATCH_SIZE)]
    return [*options, "--input-dims", _join(model.input_dims), "--output-dims", _join(model.output_dims)]


def in_process(model_file: Path, batch_size: int, seconds: float, interval_s: float = 0.0) -> InProcess:
    """Run the model in a fresh process for `seconds`, every `interval_s` or back to back."""
    command = [sys.executable, "-m", "benchmark.in_process", str(model_file), "--batch-size", str(batch_size)]
    command += ["--seconds", str(seconds), "--interval-s", str(interval_s)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise Failed(f"the in-process run failed: {result.stderr.strip()[-300:]}", hint=" ".join(command))
    return InProcess(**json.loads(result.stdout))


def _join(dims: tuple[int, ...]) -> str:
    return ",".join(map(str, dims))
