"""Replacing a version while clients call, over the wire."""

import shutil
import signal
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.support.daemon import ROOT, DaemonProcess

CLIENTS = 8
SWAPS = 20
SWAP_TIMEOUT_S = 20.0


class Client(threading.Thread):
    """Calls without a pause until told to stop; every answer is compared."""

    def __init__(self, address: str, image: np.ndarray, expected: np.ndarray) -> None:
        super().__init__()
        self._connection = triton.InferenceServerClient(address)
        self._tensor = triton.InferInput("pixel_values", image.shape, "FP32")
        self._tensor.set_data_from_numpy(image)
        self._expected = expected
        self._stop_asked = threading.Event()
        self.answers: dict[str, int] = {}
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                answer = self._connection.infer("digits", [self._tensor])
            except triton.InferenceServerException as error:
                self.failures.append(str(error))
                continue
            if not np.allclose(answer.as_numpy("logits"), self._expected, atol=1e-4):
                self.failures.append("a wrong answer")
            version = answer.get_response().model_version
            self.answers[version] = self.answers.get(version, 0) + 1

    def end(self) -> None:
        self._stop_asked.set()
        self.join()
        self._connection.close()


@pytest.mark.slow
def test_twenty_swaps_under_eight_clients_fail_no_request(tmp_path):
    golden = ROOT / "models" / "digits" / "golden"
    image, expected = (np.load(golden / name) for name in ("1.input0.pixel_values.npy", "1.output0.logits.npy"))
    package = tmp_path / "digits"
    shutil.copytree(ROOT / "models" / "digits", package)

    with DaemonProcess(tmp_path) as daemon, triton.InferenceServerClient(daemon.address) as control:
        clients = [Client(daemon.address, image, expected) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for version in range(2, SWAPS + 2):
            shutil.copytree(package / str(version - 1), package / str(version))
            daemon.popen.send_signal(signal.SIGHUP)
            deadline_s = time.monotonic() + SWAP_TIMEOUT_S
            while not control.is_model_ready("digits", str(version)):
                assert time.monotonic() < deadline_s, f"version {version} did not come up: {daemon.log[-1000:]}"
                time.sleep(0.01)
        for client in clients:
            client.end()
        complaints = daemon.complaints

    assert [failure for client in clients for failure in client.failures] == []
    answered = {int(version) for client in clients for version in client.answers}
    assert answered >= set(range(2, SWAPS + 1))
    assert complaints == []
