"""A recorded sequence of GPU work that is started with one call.

A graph holds the very addresses and sizes that were recorded: buffers and whatever else the work uses must outlive
it, unchanged.
"""

import ctypes
from collections.abc import Callable
from typing import Self

from appliance.backends.cuda.driver import Driver
from appliance.backends.cuda.error import CudaError
from appliance.backends.cuda.stream import Stream

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile


class Graph:
    """One recorded sequence, ready to be launched on the stream that recorded it."""

    def __init__(self, driver: Driver, stream: Stream, queue_work: Callable[[], None]) -> None:
        """Record what `queue_work` queues in the stream; nothing of it is executed.

        Raises what `queue_work` raises, or CudaError if the work cannot be recorded; the stream can be used on.
        """
        self._driver = driver
        self._stream = stream
        recorded = _record(driver, stream, queue_work)
        executable = ctypes.c_void_p()
        try:
            driver.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), recorded, 0)
        finally:
            driver.call("cuGraphDestroy", recorded)
        self._executable: int | None = executable.value

    def launch(self) -> None:
        """Queue the whole sequence in the stream."""
        self._driver.call("cuGraphLaunch", self._executable, self._stream.handle)

    def close(self) -> None:
        """Destroy it; harmless when done twice."""
        if self._executable is not None:
            executable, self._executable = self._executable, None
            self._driver.call("cuGraphExecDestroy", executable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _record(driver: Driver, stream: Stream, queue_work: Callable[[], None]) -> ctypes.c_void_p:
    recorded = ctypes.c_void_p()
    driver.call("cuStreamBeginCapture_v2", stream.handle, _THREAD_LOCAL)
    try:
        queue_work()
    except BaseException:
        _abandon(driver, stream)
        raise
    driver.call("cuStreamEndCapture", stream.handle, ctypes.byref(recorded))
    return recorded


def _abandon(driver: Driver, stream: Stream) -> None:
    """Take the stream out of recording; the recording is most likely void already, and CUDA says so."""
    recorded = ctypes.c_void_p()
    try:
        driver.call("cuStreamEndCapture", stream.handle, ctypes.byref(recorded))
    except CudaError as error:
        if error.device_lost:
            raise
    if recorded.value is not None:
        driver.call("cuGraphDestroy", recorded)
