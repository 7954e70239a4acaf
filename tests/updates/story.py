"""The whole story, as its people live it: an owner, a technician with a stick, clients who never stop asking.

Run as `python -m tests.updates.story DIRECTORY`, in an empty network namespace and without any rights. Ends with 0 if
every step did what it should.
"""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import tritonclient.grpc as triton

ROOT = Path(__file__).resolve().parents[2]
STEP_S = 120.0
PASSPHRASE = "a few words in a row"
OLDER = 23  # ROLLBACK


class Clients:
    """Four of them, who compare every answer."""

    def __init__(self, address: str) -> None:
        golden = ROOT / "models" / "digits" / "golden"
        self._image = np.load(golden / "1.input0.pixel_values.npy")
        self._expected = np.load(golden / "1.output0.logits.npy")
        self._address = address
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]
        self.failures: list[str] = []
        self.answered: dict[str, int] = {}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, version: str) -> None:
        """Wait until a version has answered after now."""
        before, deadline_s = self.answered.get(version, 0), time.monotonic() + STEP_S
        while self.answered.get(version, 0) <= before + 20:
            check(time.monotonic() < deadline_s, f"version {version} does not answer: {self.answered}")
            time.sleep(0.01)

    def _ask(self) -> None:
        with triton.InferenceServerClient(self._address) as client:
            tensor = triton.InferInput("pixel_values", list(self._image.shape), "FP32")
            tensor.set_data_from_numpy(self._image)
            while not self._stop.is_set():
                try:
                    answer = client.infer("digits", [tensor])
                except triton.InferenceServerException as error:
                    self.failures.append(str(error))
                    continue
                if not np.allclose(answer.as_numpy("logits"), self._expected, atol=1e-4):
                    self.failures.append("a wrong answer")
                version = answer.get_response().model_version
                self.answered[version] = self.answered.get(version, 0) + 1


class Story:
    """Everybody's commands."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._state = directory / "box"
        self._passphrase = directory / "passphrase"
        self._passphrase.write_text(PASSPHRASE + "\n")
        self.socket = directory / "i.sock"

    def station(self, *words: str, key: bool = True) -> str:
        """Do something at the signing station."""
        unlocking = ["--passphrase-file", str(self._passphrase)] if key else []
        return self._run("publish", *words, *unlocking, "--station", str(self._directory / "station"))

    def read(self, *words: str) -> str:
        """Do something at the signing station that concerns no station."""
        return self._run("publish", *words)

    def box(self, *words: str, code: int = 0) -> str:
        """Do something at the box."""
        return self._run(*words, "--state", str(self._state), code=code)

    def stick(self, name: str) -> Path:
        """Take an empty stick."""
        place = self._directory / name
        place.mkdir()
        return place

    def package(self, version: int) -> Path:
        """The shipped model, under another version number."""
        package = self._directory / f"packages-{version}" / "digits"
        shutil.copytree(ROOT / "models" / "digits", package)
        if version != 1:
            (package / "1").rename(package / str(version))
        return package

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Let the daemon run."""
        line = ["serve", "--state", str(self._state), "--listen", f"unix:{self.socket}"]
        with (self._directory / "serve.log").open("wb") as log:
            daemon = subprocess.Popen([sys.executable, "-m", "appliance.cli.main", *line], cwd=ROOT, stderr=log)
        try:
            deadline_s = time.monotonic() + STEP_S
            while self._state_of_daemon() != "READY":
                check(daemon.poll() is None and time.monotonic() < deadline_s, "the daemon does not come up")
                time.sleep(0.1)
            yield
            daemon.terminate()
            check(daemon.wait(STEP_S) == 0, "the daemon did not end well")
        finally:
            daemon.kill()
            daemon.wait()

    def _state_of_daemon(self) -> str:
        line = [sys.executable, "-m", "appliance.cli.main", "status", "--json", "--state", str(self._state)]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=STEP_S)
        return str(json.loads(done.stdout)["state"]) if done.returncode == 0 else ""

    def _run(self, *words: str, code: int = 0) -> str:
        line = [sys.executable, "-m", "appliance.cli.main", *words]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=STEP_S)
        check(done.returncode == code, f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


def live(story: Story) -> None:
    """Every step, in order. Raises SystemExit at the first that goes wrong."""
    first, second = story.stick("first"), story.stick("second")
    story.station("init")
    story.station("delegate", "--publisher", "factory")
    story.station("model", "add", str(story.package(1)), "--publisher", "factory")
    story.station("cut", "--to", str(first), "--device", "A1")
    story.station("verify", str(first), key=False)

    root = str(first.parent / "station" / "root.json")
    sealed = document(
        story.box("provision", "--root", root, "--serial", "A1", "--hardware", "pc", "--site", "hall-1", "--json")
    )
    story.box("update", "inspect", str(first))
    story.box("update", "apply", str(first))
    story.station("model", "add", str(story.package(2)), "--publisher", "factory")
    story.station("cut", "--to", str(second), "--device", "A1")

    with story.serving(), Clients(f"unix:{story.socket}") as clients:
        clients.wait_for("1")
        outcome = document(story.box("update", "apply", str(second), "--json"))
        check(outcome["result"] == "INSTALLED", str(outcome))
        clients.wait_for("2")
        story.box("update", "apply", str(first), code=OLDER)
        story.box("update", "rollback")
        clients.wait_for("1")
        status = document(story.box("status", "--json"))
        check(status["model_source"]["sealed"], "the box does not say that it is sealed")
    check(not clients.failures, f"{len(clients.failures)} requests failed: {clients.failures[:3]}")

    story.box("audit", "verify")
    asking = ["receipt", "read", str(second / outcome["receipt"]), "--key", str(sealed["receipt_key"]), "--json"]
    receipt = document(story.read(*asking))
    check(receipt["result"] == "INSTALLED", str(receipt))
    check(receipt["audit_digest"].startswith(outcome["audit_head"]), "the receipt names another audit head")


def document(text: str) -> dict[str, Any]:
    """Read what a command printed for programs."""
    found: dict[str, Any] = json.loads(text)
    return found


def check(right: bool, otherwise: str) -> None:
    if not right:
        raise SystemExit(otherwise)


if __name__ == "__main__":
    live(Story(Path(sys.argv[1])))
