"""A model that computes for ever, in a real daemon: the watchdog hears nothing any more, and the journal says why."""

import threading
import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.support.daemon import DaemonProcess
from tests.support.onnx_models import write_spinner
from tests.test_sd_notify import NotifySocket, notify  # noqa: F401  (a fixture)

pytestmark = pytest.mark.slow
FOR_EVER = 10**15


def infer(daemon: DaemonProcess, trips: int) -> None:
    with triton.InferenceServerClient(daemon.address) as client:
        tensor = triton.InferInput("INPUT0", [1], "INT64")
        tensor.set_data_from_numpy(np.array([trips], np.int64))
        try:
            answer = client.infer("spinner", [tensor], client_timeout=30)
        except (triton.InferenceServerException, grpc.RpcError):
            return
        assert answer.as_numpy("OUTPUT0").tolist() == [trips]


def test_a_hung_execution_ends_the_signs_of_life_and_is_named(notify: NotifySocket, monkeypatch, tmp_path):  # noqa: F811
    write_spinner(tmp_path / "models" / "spinner" / "1" / "model.onnx")
    settings = tmp_path / "appliance.toml"
    settings.write_text("[models]\nhung_after_s = 1\n")
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    with DaemonProcess(tmp_path / "models", options=["--config", str(settings)]) as daemon:
        infer(daemon, 1000)
        notify.wait_for("WATCHDOG=1")
        client = threading.Thread(target=infer, args=(daemon, FOR_EVER), daemon=True)
        client.start()
        notify.wait_for("STATUS=hung")
        daemon.wait_for_log("no sign of life for systemd any more: spinner version 1: an execution has gone on for")
        notify.messages.clear()
        time.sleep(1)  # more than two of the watchdog's periods
        assert not notify.has_heard("WATCHDOG=1")
        daemon.popen.kill()
