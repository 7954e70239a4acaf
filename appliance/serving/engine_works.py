"""Engines for the versions that ask for TensorRT: found in the cache or built, one at a time, cancelled at any time.

Ownership: `find` and `build` are called on loader and builder threads; the rest may be called on the event loop, and
never waits. A build that is cancelled, or that fails, leaves nothing behind.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from appliance.backends.engine_file import EngineFile
from appliance.backends.probe import ProbeReport
from appliance.backends.tensorrt.build_request import BuildProgress
from appliance.errors import Cancelled, Failed
from appliance.model.execution import ExecutionPath
from appliance.registry.source import AvailableVersion

_ASK_AGAIN_S = 30.0  # a driver may come up late, or be mended: what did not work is tried again
_LOOK_S = 0.1  # how often a build that waits looks whether it is still wanted

Advance = Callable[[BuildProgress], None]


class EngineSource(Protocol):
    """Where engines come from: the cache, or the builder behind it."""

    def find(self, available: AvailableVersion, report: ProbeReport) -> EngineFile | None:
        """Return the verified engine of a version for this box's GPU, None if it has to be built.

        Raises InvalidInput if TensorRT cannot take the version, Failed if it cannot be used here.
        """

    def loaded(self, engine: EngineFile, runtime_cache: bytes, device_bytes: int) -> None:
        """Note what loading an engine took, and keep the kernels that were compiled for it. Never fails a load."""

    def discard(self, engine: EngineFile, reason: str) -> None:
        """Remove an engine that TensorRT refuses, so that it is built again."""

    def build(
        self, available: AvailableVersion, report: ProbeReport, advance: Advance, cancelled: threading.Event
    ) -> None:
        """Build and keep the engine of a version. Raises InvalidInput, Failed, Cancelled."""


@dataclass(frozen=True, slots=True)
class EngineBuild:
    """A build that goes on, or waits for another (`progress` is None)."""

    available: AvailableVersion
    progress: BuildProgress | None


@dataclass(slots=True, eq=False)
class Job:
    """One announced build."""

    available: AvailableVersion
    cancelled: threading.Event = field(default_factory=threading.Event)
    progress: BuildProgress | None = None


class EngineWorks:
    """One for each daemon."""

    def __init__(
        self, source: EngineSource, probe: Callable[[threading.Event], ProbeReport], *, gpu_uuid: str = ""
    ) -> None:
        """`probe` says what this box can run; it is asked only when a model names a path on a
        GPU, and again after a while if something did not work.

        Its argument is set when nobody wants the answer any more: a broken driver may hang for minutes.
        gpu_uuid: the operator's GPU, for models that name none.
        """
        self.gpu_uuid = gpu_uuid
        self._source = source
        self._probe = probe
        self._report: ProbeReport | None = None
        self._probed_s = 0.0
        self._probing = threading.Lock()
        self._building = threading.Lock()
        self._changing = threading.Lock()
        self._jobs: list[Job] = []  # of one version there may be two: it was loaded again meanwhile
        self._closed = threading.Event()

    def require_usable(self, path: ExecutionPath) -> None:
        """Raise Failed, with the remedy, if this box cannot compute on a path. Blocks: the first time for seconds."""
        if path is ExecutionPath.CPU:
            return
        report = self._probed().path(path.value)
        if not report.usable:
            raise Failed(report.detail, hint=report.remedy)

    def find(self, available: AvailableVersion) -> EngineFile | None:
        """Return the verified engine of a version, None if it has to be built. Raises InvalidInput or Failed."""
        return self._source.find(available, self._probed())

    def loaded(self, engine: EngineFile, runtime_cache: bytes, device_bytes: int) -> None:
        """Note what loading an engine took, so that the next load is quicker, and refused where it cannot fit."""
        self._source.loaded(engine, runtime_cache, device_bytes)

    def discard(self, engine: EngineFile, reason: str) -> None:
        """Remove an engine that TensorRT refuses, so that it is built again. Raises Failed if the disk refuses."""
        self._source.discard(engine, reason)

    def begin(self, available: AvailableVersion) -> Job:
        """Announce a build: from now on it is shown and can be cancelled. Raises Cancelled after `close`."""
        with self._changing:
            if self._closed.is_set():
                raise Cancelled("the appliance is stopping")
            job = Job(available)
            self._jobs.append(job)
            return job

    def forget(self, job: Job) -> None:
        """The build will not be begun."""
        with self._changing:
            if job in self._jobs:
                self._jobs.remove(job)

    def build(self, job: Job) -> None:
        """Build and keep the engine; waits while another is being built. Once for each `begin`.

        Raises InvalidInput or Failed with the reason, Cancelled if `cancel` or `close` was called.
        """
        available = job.available
        try:
            if job.cancelled.is_set():
                raise Cancelled("the build of its engine was cancelled")
            with self._turn(job):

                def advance(progress: BuildProgress) -> None:
                    job.progress = progress

                self._source.build(available, self._probed(), advance, job.cancelled)
        finally:
            self.forget(job)

    def builds(self) -> list[EngineBuild]:
        """What is being built, and what waits."""
        with self._changing:
            return [EngineBuild(job.available, job.progress) for job in self._jobs]

    def cancel(self, available: AvailableVersion) -> None:
        """End the build of a version's engine; nothing happens if there is none."""
        with self._changing:
            for job in self._jobs:
                if (job.available.name, job.available.version) == (available.name, available.version):
                    job.cancelled.set()

    def close(self) -> None:
        """Cancel all builds, and begin no other."""
        with self._changing:
            self._closed.set()
            for job in self._jobs:
                job.cancelled.set()

    @contextmanager
    def _turn(self, job: Job) -> Iterator[None]:
        """Wait until no other engine is being built: a build takes the whole GPU, and its timings count."""
        while not self._building.acquire(timeout=_LOOK_S):
            if job.cancelled.is_set():
                raise Cancelled("the build of its engine was cancelled")
        try:
            yield
        finally:
            self._building.release()

    def _probed(self) -> ProbeReport:
        with self._probing:
            stale = time.monotonic() - self._probed_s > _ASK_AGAIN_S
            if self._report is None or (stale and not all(path.usable for path in self._report.paths)):
                self._report = self._probe(self._closed)
                self._probed_s = time.monotonic()
            return self._report
