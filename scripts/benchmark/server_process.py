"""A server under measurement: its process, what it costs, and what it counts.

The daemon and the echoes are the same to the benchmark: a command that serves Triton's protocol on a port, whose
CPU time and memory the kernel counts, and which counts its own requests in ModelStatistics.
"""

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self, TypeVar

import grpc
import psutil
from google.protobuf.message import Message

from appliance.errors import Failed
from appliance.rpc.pb import grpc_service_pb2 as pb
from benchmark.echoed_model import SERVICE

POLL_S = 0.005
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 45.0

Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a server has done for one model since it started."""

    requests: int
    inferences: int  # rows
    executions: int  # batches


class ServerProcess:
    """Owns one server process and one channel to it, from `with` to its end."""

    def __init__(self, name: str, command: list[str], port: int) -> None:
        self.name = name
        self.address = f"127.0.0.1:{port}"
        self.ready_after_s = 0.0
        self._command = command
        self._port = port

    def __enter__(self) -> Self:
        self._scratch = TemporaryDirectory(prefix="bench-")
        self._log = Path(self._scratch.name) / "log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("APPLIANCE_")}
        started_s = time.monotonic()
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                self._command,
                cwd=self._scratch.name,
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._process = psutil.Process(self._popen.pid)
        self._channel = grpc.insecure_channel(self.address)
        try:
            self._wait_until_ready(started_s + START_TIMEOUT_S)
        except BaseException:
            self._end()
            raise
        self.ready_after_s = time.monotonic() - started_s
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def call(self, method: str, request: Message, answer: type[Response], timeout_s: float = 30) -> Response:
        """Call one method of the inference service."""
        invoke = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        response: Response = invoke(request, timeout=timeout_s)
        return response

    def counts(self, model: str) -> Counts:
        """Read what the server has counted for `model`."""
        request = pb.ModelStatisticsRequest(name=model)
        (row,) = self.call("ModelStatistics", request, pb.ModelStatisticsResponse).model_stats
        return Counts(row.inference_stats.success.count, row.inference_count, row.execution_count)

    @property
    def pid(self) -> int:
        """Its process, while it runs."""
        return self._popen.pid

    def cpu_s(self) -> float:
        """User and system time so far, children included."""
        times = [self._process.cpu_times(), *(child.cpu_times() for child in self._children())]
        return sum(time.user + time.system + time.children_user + time.children_system for time in times)

    def rss_bytes(self) -> int:
        """Resident memory now, children included."""
        return sum(process.memory_info().rss for process in [self._process, *self._children()])

    def _children(self) -> list[psutil.Process]:
        return self._process.children(recursive=True)

    def _wait_until_ready(self, deadline_s: float) -> None:
        # Without a listener, gRPC would back off for a second and spoil the measured start.
        while not self._is_listening() or not self._is_ready():
            if self._popen.poll() is not None:
                raise Failed(f"{self.name} ended with status {self._popen.returncode}: {self._last_words()}",
                             hint=f"its command was: {' '.join(self._command)}")  # fmt: skip
            if time.monotonic() > deadline_s:
                raise Failed(f"{self.name} was not ready after {START_TIMEOUT_S:.0f} s: {self._last_words()}",
                             hint=f"its command was: {' '.join(self._command)}")  # fmt: skip
            time.sleep(POLL_S)

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def _is_ready(self) -> bool:
        try:
            return self.call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse, timeout_s=5).ready
        except grpc.RpcError:
            return False

    def _last_words(self) -> str:
        return " | ".join(self._log.read_text(errors="replace").strip().splitlines()[-5:]) or "it said nothing"

    def _end(self) -> None:
        self._channel.close()
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._scratch.cleanup()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
