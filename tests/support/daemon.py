"""The real daemon in a process of its own, on a free port, for tests that talk to it over real channels."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import grpc
import psutil

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 45.0
POLL_S = 0.01
TRANSPORT = os.environ.get("TRANSPORT_UNDER_TEST", "auto")  # of daemons that are not told otherwise
TRANSPORT_SETTING = {"APPLIANCE_SERVER_TRANSPORT": TRANSPORT}  # the same for programs that tests start otherwise
PROGRAM = ["-m", "appliance.cli.main"]
ANY_PORT = "127.0.0.1:0"
_COMPLAINTS = re.compile(r"a method failed|execution failed|Traceback|never retrieved|was destroyed|Warning:")


class DaemonProcess:
    """One daemon, from `with` to its end. `settings`: environment variables without the prefix `APPLIANCE_`."""

    def __init__(
        self,
        models: Path,
        *,
        state: Path | None = None,
        listen: str = ANY_PORT,
        settings: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        python: str | Path = sys.executable,
    ) -> None:
        # The path of a Unix socket has at most 107 bytes, pytest's own directories are longer.
        self._made = None if state else Path(tempfile.mkdtemp(prefix="a-"))
        self.state = state or self._made or Path()
        self.unix = f"unix:{self.state}/run/appliance.sock"
        self.address = ""
        self._log = tempfile.NamedTemporaryFile(prefix="a-", suffix=".log")  # noqa: SIM115  (closed with the process)
        serve = ["serve", "--models", str(models), "--state", str(self.state), "--listen", listen, *options]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("APPLIANCE_")}
        settings = {"SERVER_TRANSPORT": TRANSPORT} | dict(settings or {})
        self.popen = subprocess.Popen(
            [python, *PROGRAM, *serve],
            cwd=ROOT,
            env=environment | {f"APPLIANCE_{name}": value for name, value in settings.items()},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        try:
            self.wait_for_listener()
            self.wait_for_log(r"READY: ")
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def log(self) -> str:
        """What it has written so far."""
        return Path(self._log.name).read_text(errors="replace")

    @property
    def complaints(self) -> list[str]:
        """Lines of the log that no request of a client, however bad, may cause."""
        return [line for line in self.log.splitlines() if _COMPLAINTS.search(line)]

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        size: int = psutil.Process(self.popen.pid).memory_info().rss
        return size

    def channel(self, *, over_unix: bool = False) -> grpc.Channel:
        """Open a connection of its own (channels of one process would otherwise share theirs)."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        return grpc.insecure_channel(self.unix if over_unix else self.address, options)

    def wait_for_listener(self) -> None:
        """Wait until it accepts connections; the models may still be loading."""
        self.address = self.wait_for_log(r"listening on ([0-9.]+:\d+)")

    def wait_for_log(self, pattern: str, timeout_s: float = START_TIMEOUT_S) -> str:
        """Wait until it has written a line like that; return the first group, if there is one."""
        deadline_s = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self.log)):
            assert self.popen.poll() is None, f"ended with {self.popen.returncode}: {self.log[-2000:]}"
            assert time.monotonic() < deadline_s, f"no {pattern!r} in {timeout_s:.0f} s: {self.log[-2000:]}"
            time.sleep(POLL_S)
        return found.group(1) if found.groups() else found.group()

    def terminate(self) -> None:
        """Ask it to stop, as systemd does."""
        self.popen.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for its end; return the exit status."""
        return self.popen.wait(timeout_s)

    def end(self) -> None:
        """Stop it if it still runs, and remove what it kept."""
        if self.popen.poll() is None:
            self.terminate()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self._log.close()
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
