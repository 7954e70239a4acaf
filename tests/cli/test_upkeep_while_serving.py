"""Upkeep beside clients that infer: none of them notices."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from appliance.registry.model_registry import ModelRegistry
from appliance.state_layout import StateLayout
from tests.cli.terminal import MODELS, Terminal

LARGE_BYTES = 256 * 1024 * 1024
PICTURE = np.zeros((1, 1, 32, 32), np.float32)


@dataclass
class Client:
    """Infers without a pause. `latencies_s`: of every answer; `errors`: what came instead of one."""

    address: str
    latencies_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with triton.InferenceServerClient(self.address) as connection:
            tensor = triton.InferInput("pixel_values", PICTURE.shape, "FP32")
            tensor.set_data_from_numpy(PICTURE)
            while not self.stopping.is_set():
                begin_s = time.perf_counter()
                try:
                    connection.infer("digits", [tensor])
                except triton.InferenceServerException as error:
                    self.errors.append(str(error))
                self.latencies_s.append(time.perf_counter() - begin_s)


@contextmanager
def inferring(address: str) -> Iterator[Client]:
    client = Client(address)
    thread = threading.Thread(target=client.run, name="client")
    thread.start()
    try:
        yield client
    finally:
        client.stopping.set()
        thread.join(30)


def large_blob(state: Path) -> None:
    with ModelRegistry.open(StateLayout(state)) as registry:
        registry.blobs.put(bytes(LARGE_BYTES))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["scrub", "gc", "verify"])
def test_clients_get_every_answer_while_the_registry_is_kept(terminal: Terminal, command: str) -> None:
    terminal.appliance("models", "add", MODELS / "digits")
    terminal.appliance("models", "activate", "digits", "1")
    large_blob(terminal.state)
    with terminal.daemon(), inferring(f"unix:{terminal.state}/run/appliance.sock") as client:
        terminal.appliance("models", command)
        answered = len(client.latencies_s)

    assert answered > 10
    assert client.errors == []
