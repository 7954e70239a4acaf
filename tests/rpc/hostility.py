"""What every hostile case begins and ends with: a well-behaved client beside it, and a look at what the daemon holds.

Bounds. GROWTH_BYTES is what the allocator may keep for the next time: gRPC allocates on each of its threads, and each
thread has an arena of its own. It shows what a case leaves behind only where that moves more, in bytes sent or held;
smaller losses show where many like rounds are compared (`lost_bytes`). The first case of a daemon has more of it than
those after it; `warm_up` takes it away.
Threads may grow by THREADS, files by FILES: gRPC starts more threads when many things happen at once, ends them when
it likes, and keeps the event descriptors by which it wakes them.
"""

import gc
import importlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Self

import grpc
import numpy as np
import psutil
from onnx import helper

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.hostile_peer import HostilePeer
from tests.rpc.packages import write_flat, write_onnx_identity, write_reference
from tests.rpc.wire import FOUR, SERVICE, answers_right, infer, request, tensor
from tests.support import onnx_models
from tests.support.daemon import DaemonProcess

ELEMENTS = 150_000  # of FP32: 600 KB
ANSWER_BYTES = ELEMENTS * 4
GROWTH_BYTES = 64 * 1024 * 1024
NOISE_BYTES = 8 * 1024 * 1024  # of resident memory, from round to round; measured: 1 to 4 MB
SETTLED = 4  # rounds after which the allocator has what it needs
THREADS = 16
FIRST_MENDED_CORE = 34  # of gRPC 1.57
FILES = 8
IDLE_PERCENT = 25.0  # of one core
WAIT_S = 20.0
GRPCIOS = "ERROR grpc._cython.cygrpc"
LARGE = np.arange(ELEMENTS, dtype=np.float32).tobytes()


def write_hostile_models(directory: Path) -> Path:
    """identity_fp32 [N, 4], flat_fp32 [M], slow (40 ms), and expands: a row of one number becomes one of 600 KB."""
    write_onnx_identity(directory, "identity_fp32", "FP32")
    write_flat(directory, "flat_fp32", "FP32", ["M"])
    write_reference(directory, "slow", "FP32", 'max_batch_size = 8\nparameters.delay_ms = "40"\n[dynamic_batching]\n')
    write_reference(directory, "alone", "FP32", 'max_batch_size = 1\nparameters.delay_ms = "150"\n')
    onnx_models.write_graph(
        directory / "expands" / "1" / "model.onnx",
        [helper.make_node("Expand", ["INPUT0", "shape"], ["OUTPUT0"])],
        [onnx_models.tensor("INPUT0", "FP32", ["N", 1])],
        [onnx_models.tensor("OUTPUT0", "FP32", ["N", ELEMENTS])],
        {"shape": np.array([1, ELEMENTS], np.int64)},
    )
    (directory / "expands" / "model.toml").write_text("max_batch_size = 8\n[dynamic_batching]\n")
    return directory


def small_request() -> bytes:
    return request("identity_fp32").SerializeToString()


def large_request() -> bytes:
    """600 KB, and 600 KB for an answer."""
    return request("flat_fp32", [tensor(shape=(ELEMENTS,))], [LARGE]).SerializeToString()


def expanding_request() -> bytes:
    """A few bytes; the answer has 600 KB."""
    return request("expands", [tensor(shape=(1, 1))], [FOUR[:4]]).SerializeToString()


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


class Bystander:
    """A well-behaved client, connected and asking all the time."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.answers = 0
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._channel = daemon.channel()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        assert answers_right(self._channel)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._channel.close()

    def _ask(self) -> None:
        while not self._stop.wait(0.005):
            try:
                if not answers_right(self._channel):
                    self.wrong.append("a wrong answer")
            except grpc.RpcError as error:
                self.wrong.append(f"{error.code()}: {error.details()}")
            self.answers += 1


class Footprint:
    """What a daemon holds, compared with before."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._process = psutil.Process(daemon.popen.pid)
        self.files, self.threads = self._process.num_fds(), self._process.num_threads()
        self.rss_bytes = self._process.memory_info().rss

    @property
    def grown_bytes(self) -> int:
        now: int = self._process.memory_info().rss
        return now - self.rss_bytes

    @property
    def files_now(self) -> int:
        now: int = self._process.num_fds()
        return now

    def wait_until_idle(self) -> None:
        """Until the daemon does no more than answer the client beside it."""
        wait_until(lambda: self._process.cpu_percent(interval=0.25) < IDLE_PERCENT, "busy")

    def require_as_before(self, bound_bytes: int) -> None:
        wait_until(lambda: self.files_now <= self.files + FILES, "files")
        wait_until(lambda: self._process.num_threads() <= self.threads + THREADS, "threads")
        wait_until(lambda: self.grown_bytes < bound_bytes, "memory", timeout_s=10)


def lost_bytes(rss_bytes: Sequence[int]) -> int:
    """What the last rounds hold more than the first ones. rss_bytes: after each of ten rounds that are all alike."""
    return int(median(rss_bytes[-3:])) - max(rss_bytes[:SETTLED])


def warm_up(daemon: DaemonProcess) -> None:
    """Have every path of the daemon taken often enough that it has what memory it needs for it."""
    with daemon.channel() as channel:
        method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        for data in (small_request(), large_request(), expanding_request()):
            for future in [method.future(data, timeout=WAIT_S) for _ in range(40)]:
                future.result()


def our_complaints(daemon: DaemonProcess) -> list[str]:
    """Without grpcio's own, which writes a traceback for every client that leaves while its answer goes out."""
    lines = daemon.log.splitlines()
    grpcios = sum("Traceback" in line and GRPCIOS in before for before, line in pairwise(lines))
    complaints = daemon.complaints
    return complaints if len(complaints) > grpcios else []


@contextmanager
def undisturbed(
    daemon: DaemonProcess, bound_bytes: int = GROWTH_BYTES, *, tolerated: Sequence[str] = ()
) -> Iterator[Footprint]:
    """What happens inside leaves no files, threads or memory beyond the bounds, and its other clients notice nothing.

    tolerated: codes that the other clients may be given while it happens, and a while after.
    """
    before, complaints = Footprint(daemon), our_complaints(daemon)
    with Bystander(daemon) as bystander:
        yield before
        asked = bystander.answers + 1  # one may be under way
        wait_until(lambda: bystander.answers > asked, "the client beside it is not answered")
    gc.collect()  # sockets of ours
    if tolerated:
        wait_until(lambda: is_served(daemon), "nobody is served any more")

    assert [wrong for wrong in bystander.wrong if not any(code in wrong for code in tolerated)] == []
    before.require_as_before(bound_bytes)
    assert daemon.popen.poll() is None
    with daemon.channel() as late:
        assert answers_right(late)
        assert list(infer(late, pb.ModelInferRequest.FromString(large_request())).raw_output_contents) == [LARGE]
    assert our_complaints(daemon) == complaints, daemon.log[-3000:]


def is_served(daemon: DaemonProcess) -> bool:
    """Whether a new client is."""
    with daemon.channel() as channel:
        try:
            return answers_right(channel)
        except grpc.RpcError:
            return False


def still_works(peer: HostilePeer) -> bool:
    """Whether a hostile connection that did nothing forbidden is served."""
    stream = peer.open()
    peer.send_message(stream, small_request())
    return peer.outcome(stream) == 0


def old_core(transport: str) -> bool:
    """Whether the native transport was built with such a gRPC."""
    if transport == "grpcio":
        return False
    core = importlib.import_module("appliance_native").GRPC_CORE_VERSION
    return int(core.split(".")[0]) < FIRST_MENDED_CORE
