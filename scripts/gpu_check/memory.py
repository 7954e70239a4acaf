"""Memory after many load/unload cycles: of the GPU, and of the daemon's process.

`python -m gpu_check.memory` prints the free memory of the first GPU in bytes. Each reading is a process of its own:
what its CUDA context takes is the same each time, and nothing of it stays.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median

from benchmark.server_process import ServerProcess

from appliance.backends.cuda.device_context import DeviceContext
from appliance.backends.cuda.driver import open_driver
from appliance.backends.cuda.gpu import Gpu, choose_gpu, free_bytes, list_gpus
from appliance.errors import Failed, Unsupported
from appliance.rpc.pb import grpc_service_pb2 as pb
from gpu_check.daemon import DAEMON_ERRORS, signature_of, words_of
from gpu_check.feed import make_feed
from gpu_check.finding import Finding, failed, judged, not_run
from gpu_check.packages import Workload

GPU_MEMORY, RESIDENT = "GPU memory returned", "resident memory returned"
WARM_UP_CYCLES = 10  # the first loads fill caches of driver and allocator
_READINGS = 5
_SETTLE_S = 1.0
_LOAD_TIMEOUT_S = 300.0
_GPU_LIMIT_BYTES = 32 << 20  # drivers hand out memory in blocks of 2 MiB and keep a few
_SHARED_LIMIT_BYTES = 256 << 20  # memory that the whole system shares is never still
_RESIDENT_LIMIT = 0.02


def check_memory(
    workload: Workload, daemon: ServerProcess, cycles: int, gpu: Gpu | None, say: Callable[[str], None]
) -> Iterator[Finding]:
    """Unload and load each model `cycles` times, with one inference in between. `gpu`: None where there is none."""
    for name in workload.names:
        say(f"{name}: {cycles} load/unload cycles")
        try:
            request = make_feed(signature_of(daemon, name), workload.package(name)).request()
            yield from _check(name, daemon, request, cycles, gpu)
        except Unsupported as error:
            yield not_run(RESIDENT, name, error.message)
        except DAEMON_ERRORS as error:
            yield failed(GPU_MEMORY if gpu else RESIDENT, name, words_of(error))


def _check(
    name: str, daemon: ServerProcess, request: pb.ModelInferRequest, cycles: int, gpu: Gpu | None
) -> Iterator[Finding]:
    _cycle(name, daemon, request, WARM_UP_CYCLES)
    free_before, resident_before = _free_gpu_bytes(gpu), _resident_bytes(daemon)
    _cycle(name, daemon, request, cycles)
    free_after, resident_after = _free_gpu_bytes(gpu), _resident_bytes(daemon)
    if gpu is not None:
        limit_bytes = _SHARED_LIMIT_BYTES if gpu.integrated else _GPU_LIMIT_BYTES
        kept_bytes = free_before - free_after
        found = f"{kept_bytes / 1e6:.1f} MB kept after {cycles} cycles"
        yield judged(GPU_MEMORY, name, found, f"<= {limit_bytes >> 20} MiB", met=kept_bytes <= limit_bytes)
    growth = resident_after / resident_before - 1
    found = f"{growth:+.2%} after {cycles} cycles ({resident_after / 1e6:.0f} MB)"
    yield judged(RESIDENT, name, found, f"<= {_RESIDENT_LIMIT:.0%}", met=growth <= _RESIDENT_LIMIT)


def _cycle(name: str, daemon: ServerProcess, request: pb.ModelInferRequest, cycles: int) -> None:
    for _ in range(cycles):
        unload = pb.RepositoryModelUnloadRequest(model_name=name)
        daemon.call("RepositoryModelUnload", unload, pb.RepositoryModelUnloadResponse, _LOAD_TIMEOUT_S)
        load = pb.RepositoryModelLoadRequest(model_name=name)
        daemon.call("RepositoryModelLoad", load, pb.RepositoryModelLoadResponse, _LOAD_TIMEOUT_S)
        daemon.call("ModelInfer", request, pb.ModelInferResponse, _LOAD_TIMEOUT_S)


def _resident_bytes(daemon: ServerProcess) -> float:
    readings = []
    for _ in range(_READINGS):
        time.sleep(_SETTLE_S / _READINGS)
        readings.append(daemon.rss_bytes())
    return median(readings)


def _free_gpu_bytes(gpu: Gpu | None) -> int:
    """Memory that others can have on the first GPU; 0 without one."""
    if gpu is None:
        return 0
    time.sleep(_SETTLE_S)
    child = subprocess.run(
        [sys.executable, "-m", "gpu_check.memory"], capture_output=True, text=True, timeout=120, check=False
    )
    if child.returncode != 0:
        raise Failed(f"the GPU's free memory cannot be read: {child.stderr.strip()[-300:]}")
    return int(child.stdout)


def main() -> None:
    driver = open_driver()
    context = DeviceContext(driver, choose_gpu(list_gpus(driver)))
    with context.current():
        print(free_bytes(driver, context.gpu))
    context.close()


if __name__ == "__main__":
    main()
