"""What the daemon tells systemd, read from a real notification socket."""

import contextlib
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest

from appliance.sd_notify import SystemdNotifier
from tests.support.daemon import ROOT, DaemonProcess


class NotifySocket:
    """The receiving end of sd_notify."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.messages: list[str] = []

    def wait_for(self, text: str, timeout_s: float = 20) -> str:
        deadline_s = time.monotonic() + timeout_s
        while True:
            found = [message for message in self.messages if text in message]
            if found:
                self.messages = self.messages[self.messages.index(found[0]) + 1 :]
                return found[0]
            self._socket.settimeout(max(0.01, deadline_s - time.monotonic()))
            try:
                self.messages.append(self._socket.recv(4096).decode())
            except TimeoutError:
                pytest.fail(f"no {text!r} among {self.messages}")

    def has_heard(self, text: str) -> bool:
        """Whether a message with this text has come since `wait_for` returned last."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.messages.append(self._socket.recv(4096).decode())
        return any(text in message for message in self.messages)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def notify(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="a-") as directory:
        receiver = NotifySocket(Path(directory) / "notify")
        monkeypatch.setenv("NOTIFY_SOCKET", str(receiver.path))
        yield receiver
        receiver.close()


def test_the_whole_life_is_reported(notify):
    with DaemonProcess(ROOT / "models") as daemon:
        loading = notify.wait_for("STATUS=loading models")
        ready = notify.wait_for("READY=1")
        daemon.popen.send_signal(signal.SIGHUP)
        reloading = notify.wait_for("RELOADING=1")
        ready_again = notify.wait_for("READY=1")
        daemon.terminate()
        notify.wait_for("STOPPING=1")
        status = daemon.wait()

    assert str(ROOT / "models") in loading
    assert "STATUS=serving 2 model versions" in ready
    assert "MONOTONIC_USEC=" in reloading
    assert "serving 2 model versions" in ready_again
    assert status == 0


def test_the_watchdog_is_fed(notify, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "400000")

    with DaemonProcess(ROOT / "models"):
        for _ in range(3):
            notify.wait_for("WATCHDOG=1")


def test_what_could_not_be_loaded_stands_in_the_status_line(notify, tmp_path):
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "1" / "model.onnx").write_text("no model")

    with DaemonProcess(tmp_path):
        ready = notify.wait_for("READY=1")

    assert "not served: bad version 1: ONNX Runtime refuses model.onnx" in ready


def test_settings_are_read_again_and_bad_ones_change_nothing(tmp_path):
    file = tmp_path / "appliance.toml"
    file.write_text('[log]\nlevel = "INFO"\n')

    with DaemonProcess(ROOT / "models", options=["--config", str(file)]) as daemon:
        file.write_text('[log]\nlevel = "LOUD"\n')
        daemon.popen.send_signal(signal.SIGHUP)
        daemon.wait_for_log("reload failed, the old settings stay in force: .*log.level")
        file.write_text('[log]\nformat = "json"\n[server]\nname = "other"\n')
        daemon.popen.send_signal(signal.SIGHUP)
        daemon.wait_for_log(r'"message": "reloaded; applied: \[.log.format.\]; after a restart: \[.server.name.\]')


def test_a_name_that_is_no_text_does_not_end_the_signs_of_life(notify):
    SystemdNotifier(str(notify.path)).status("models: \udcff: not a name")

    assert notify.wait_for("STATUS=") == "STATUS=models: \\udcff: not a name"
