"""Closed-loop clients in processes of their own: load over real gRPC where perf_analyzer cannot be had.

The parent starts `python -m gpu_check.client_load ADDRESS REQUEST-FILE CLIENTS SECONDS BEGIN`; each process runs some
of the clients in threads and prints the latencies of all answered requests, in microseconds, as one JSON array.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from benchmark.load_generator import Load

from appliance.errors import Failed
from appliance.rpc.pb import grpc_service_pb2 as pb
from gpu_check.feed import Feed

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_MOST_PROCESSES = 8
_CLIENTS_PER_PROCESS = 4
_LARGEST_MESSAGE_BYTES = 256 * 1024 * 1024
_REQUEST_TIMEOUT_S = 120.0
_START_S = 30.0  # for interpreters to start and connect


def run_clients(address: str, feed: Feed, concurrency: int, seconds: float) -> Load:
    """Load the server with `concurrency` clients for `seconds`. Raises Failed with what a client said."""
    processes = max(1, min(_MOST_PROCESSES, (os.cpu_count() or 2) // 2, concurrency // _CLIENTS_PER_PROCESS))
    shares = [concurrency // processes + (number < concurrency % processes) for number in range(processes)]
    with TemporaryDirectory(prefix="gpu-check-") as folder:
        request = Path(folder) / "request"
        request.write_bytes(feed.request().SerializeToString())
        begin_at_s = time.time() + 1.0 + 0.3 * processes  # all of them together
        started = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gpu_check.client_load",
                    address,
                    request,
                    *map(str, (share, seconds, begin_at_s)),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for share in shares
        ]
        try:
            latencies = [_latencies_of(process, seconds) for process in started]
        finally:
            for process in started:
                process.kill()
                process.wait()
    return _summed([each for share in latencies for each in share], seconds)


def _latencies_of(process: "subprocess.Popen[str]", seconds: float) -> list[int]:
    try:
        out, err = process.communicate(timeout=seconds + _START_S + _REQUEST_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise Failed("the clients did not end: the server does not answer") from error
    if process.returncode != 0:
        raise Failed(f"a client failed: {err.strip().splitlines()[-1][:300] if err.strip() else 'it said nothing'}")
    latencies: list[int] = json.loads(out)
    return latencies


def _summed(latencies_us: list[int], seconds: float) -> Load:
    if not latencies_us:
        raise Failed(f"no request was answered in {seconds:g} s")
    ordered = sorted(latencies_us)
    return Load(len(ordered) / seconds, _percentile(ordered, 50), _percentile(ordered, 99))


def _percentile(ordered: list[int], percent: int) -> float:
    return float(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)])


class _Clients:
    """Threads of one process; each sends its next request when the last one is answered."""

    def __init__(self, address: str, request: bytes, begin_at_s: float, seconds: float) -> None:
        self._address = address
        self._request = request
        self._begin_s = time.monotonic() + begin_at_s - time.time()
        self._seconds = seconds
        self._lock = threading.Lock()
        self._latencies_us: list[int] = []
        self._problem: BaseException | None = None

    def run(self, clients: int) -> list[int]:
        """Run them all; return the latencies. Raises what the first of them raised."""
        threads = [threading.Thread(target=self._guarded, name=f"client-{number}") for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._problem is not None:
            raise self._problem
        return self._latencies_us

    def _guarded(self) -> None:
        try:
            found = self._send()
        except Exception as error:  # noqa: BLE001  (raised again by the process's main thread)
            self._problem = error
            return
        with self._lock:
            self._latencies_us += found

    def _send(self) -> list[int]:
        found = []
        options = [("grpc.max_receive_message_length", _LARGEST_MESSAGE_BYTES), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self._address, options=options) as channel:
            infer = channel.unary_unary(_METHOD, response_deserializer=pb.ModelInferResponse.FromString)
            infer(self._request, timeout=_REQUEST_TIMEOUT_S)  # connected, and the model is warm
            time.sleep(max(0.0, self._begin_s - time.monotonic()))
            end_s = time.monotonic() + self._seconds
            before_s = time.monotonic()
            while before_s < end_s:
                infer(self._request, timeout=_REQUEST_TIMEOUT_S)
                after_s = time.monotonic()
                if after_s <= end_s:
                    found.append(round((after_s - before_s) * 1e6))
                before_s = after_s
        return found


def main() -> None:
    address, request, clients, seconds, begin_at_s = sys.argv[1:]
    running = _Clients(address, Path(request).read_bytes(), float(begin_at_s), float(seconds))
    print(json.dumps(running.run(int(clients))))


if __name__ == "__main__":
    main()
