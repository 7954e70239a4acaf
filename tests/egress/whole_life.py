"""The daemon's whole life, as a technician and a client live through it; run inside the sink-hole.

Run as `python -m tests.egress.whole_life STATE MODEL NEWCOMER`: registers a model directory, serves it, infers, adds
another and reloads, waits longer than a telemetry client would, and stops. Ends with 0 if every step did what it
should. Before and after all that a control leaves the box, else the silence in between would prove nothing.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton

from tests.egress.strace_log import STRACE

STEP_S = 60.0
# The client in onnxruntime 1.29 wrote its first event at once and sent it after some 10 seconds.
TELEMETRY_DELAY_S = 20.0
CONTROL = """
import socket, sys
with socket.create_connection(("203.0.113.99", 443), timeout=5) as world:
    world.sendall(sys.argv[1].encode())
    world.recv(1)
"""


class Appliance:
    """The command line and the daemon, on one state directory."""

    def __init__(self, state: Path) -> None:
        script = Path(sys.executable).with_name("appliance")
        self._program = [str(script)] if script.exists() else [sys.executable, "-m", "appliance.cli.main"]
        self._state = state
        self.address = f"127.0.0.1:{free_port()}"

    def command(self, *words: str) -> None:
        """Run one command to its end. Raises SystemExit with its output if it fails."""
        line = [*self._program, *words, "--state", str(self._state)]
        result = subprocess.run(line, capture_output=True, text=True, timeout=STEP_S, check=False)
        if result.returncode != 0:
            raise SystemExit(f"{' '.join(words)}: exit {result.returncode}\n{result.stdout}{result.stderr}")

    def introduce(self, model: Path) -> None:
        """Register a model directory and let its version 1 be served."""
        self.command("models", "add", str(model))
        self.command("models", "activate", model.name, "1")

    @contextmanager
    def serving(self, tracer: list[str]) -> "Iterator[subprocess.Popen[bytes]]":
        """The daemon, from the first moment of its process; it must end by itself once told to."""
        line = [*self._program, "serve", "--state", str(self._state), "--listen", self.address]
        daemon = subprocess.Popen([*tracer, *line])
        try:
            yield daemon
            daemon.send_signal(signal.SIGTERM)
            if returncode := daemon.wait(STEP_S):
                raise SystemExit(f"serve: exit {returncode} after SIGTERM, expected 0")
        finally:
            daemon.kill()
            daemon.wait()


def live(state: Path, model: Path, newcomer: Path, tracer: list[str], inferences: int, idle_s: float) -> None:
    """Every step of the life, in order. Raises SystemExit at the first that goes wrong."""
    appliance = Appliance(state)
    appliance.introduce(model)
    with appliance.serving(tracer) as daemon, triton.InferenceServerClient(appliance.address) as client:
        wait_until_ready(client, model.name, daemon)
        infer(client, model, inferences)
        appliance.command("status")
        appliance.introduce(newcomer)
        daemon.send_signal(signal.SIGHUP)
        wait_until_ready(client, newcomer.name, daemon)
        infer(client, newcomer, inferences)
        infer(client, model, inferences)
        for words in ("status", "models list", "models verify", "selftest", f"models deactivate {newcomer.name}"):
            appliance.command(*words.split())
        appliance.command("infer", model.name, "--input", str(first_input(model)))
        time.sleep(idle_s)
        infer(client, model, 1)


def wait_until_ready(client: triton.InferenceServerClient, name: str, daemon: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + STEP_S
    while time.monotonic() < deadline_s:
        if daemon.poll() is not None:
            raise SystemExit(f"serve: exit {daemon.returncode} before it was ready")
        try:
            if client.is_model_ready(name):
                return
        except triton.InferenceServerException:  # not listening yet
            time.sleep(0.05)
    raise SystemExit(f"serve: {name} is not ready after {STEP_S:.0f} s")


def infer(client: triton.InferenceServerClient, model: Path, times: int) -> None:
    """Infer the golden samples in turn and compare the answers."""
    golden = read_golden(model)
    for number in range(times):
        sample = golden["sample"][number % len(golden["sample"])]
        ((name, file),) = sample["inputs"].items()
        array = np.load(model / "golden" / file)
        request = triton.InferInput(name, list(array.shape), "FP32")
        request.set_data_from_numpy(array)
        answer = client.infer(model.name, [request], client_timeout=STEP_S)
        for output, expected in sample["outputs"].items():
            found = answer.as_numpy(output)
            if not np.allclose(found, np.load(model / "golden" / expected), golden["rtol"], golden["atol"]):
                raise SystemExit(f"infer: {model.name} {sample['name']}: {output} is {found}, see {expected}")


def first_input(model: Path) -> Path:
    """The file with the first golden sample of a model with one input."""
    (file,) = read_golden(model)["sample"][0]["inputs"].values()
    return model / "golden" / str(file)


def read_golden(model: Path) -> dict[str, Any]:
    return tomllib.loads((model / "golden" / "golden.toml").read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def send_control(word: str) -> None:
    subprocess.run([sys.executable, "-c", CONTROL, word], check=True, timeout=STEP_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", type=Path)
    parser.add_argument("model", type=Path, help="directory of a model to serve from the start")
    parser.add_argument("newcomer", type=Path, help="directory of a model to add while the daemon runs")
    parser.add_argument("--trace", type=Path, help="let strace write the daemon's system calls to this file")
    parser.add_argument("--inferences", type=int, default=200)
    parser.add_argument("--idle-s", type=float, default=TELEMETRY_DELAY_S)
    given = parser.parse_args()
    tracer = [*STRACE, "-o", os.fspath(given.trace)] if given.trace else []
    send_control("before the life")
    live(given.state, given.model, given.newcomer, tracer, given.inferences, given.idle_s)
    send_control("after the life")


if __name__ == "__main__":
    main()
