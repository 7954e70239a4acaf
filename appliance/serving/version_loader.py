"""Loading and closing versions, and building their engines, on threads of their own, with every attempt written down.

Ownership: owns the loader, closer and builder threads; `load` and `drain` are called on the event loop. What a load
that fails began is given back before its error is reported; what a load produced for nobody is closed.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from appliance.errors import ApplianceError, Cancelled, Failed
from appliance.model.identity import ModelName, ModelVersion
from appliance.registry.source import AvailableVersion, ModelSource, SourceModel
from appliance.serving.engine_works import EngineWorks
from appliance.serving.execution_marks import ExecutionMarks
from appliance.serving.freed_memory import give_back_freed_memory
from appliance.serving.instance_worker import DeviceLost
from appliance.serving.loaded_model import LoadedModel
from appliance.serving.path_loading import EngineNeeded, load_on_best_path

logger = logging.getLogger(__name__)

_MOST_BUILDS = 64  # that wait for each other

Result = TypeVar("Result")


class VersionLoader:
    """Turns an AvailableVersion into a LoadedModel, and a LoadedModel into nothing."""

    def __init__(
        self,
        source: ModelSource,
        engines: EngineWorks,
        device_lost: DeviceLost,
        marks: ExecutionMarks,
        *,
        threads: int,
        attempts: int,
    ) -> None:
        """Create it on the running event loop. `attempts`: loads that ended the process before one is refused."""
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._engines = engines
        self._device_lost = device_lost
        self._marks = marks
        self._attempts = attempts
        self._loaders = ThreadPoolExecutor(threads, thread_name_prefix="loader")
        self._closers = ThreadPoolExecutor(threads, thread_name_prefix="closer")
        self._builders = ThreadPoolExecutor(
            _MOST_BUILDS, thread_name_prefix="builder"
        )  # they take turns, see EngineWorks
        self._drains: set[asyncio.Task[None]] = set()
        self._loading: dict[tuple[ModelName, ModelVersion], AvailableVersion] = {}  # on loader threads now
        self._began_s: dict[tuple[ModelName, ModelVersion], float] = {}  # monotonic

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Run something that touches the disk on a loader thread."""
        return await self._loop.run_in_executor(self._loaders, function, *arguments)

    def longest_load_s(self) -> float:
        """For how long the oldest of the loads that go on has gone on; 0 if none does. Engine builds do not count."""
        began_s = min(tuple(self._began_s.values()), default=None)
        return 0.0 if began_s is None else time.monotonic() - began_s

    async def suspects(self, found: Mapping[ModelName, SourceModel]) -> set[ModelName]:
        """Models of which a desired version was being loaded when the process ended last time."""

        def ask() -> set[ModelName]:
            return {
                name
                for name, model in found.items()
                if any(self._source.refusal(model.versions[version], 1) for version in model.desired)
            }

        return await self.run(ask)

    async def load(self, available: AvailableVersion) -> LoadedModel:
        """Verify, write the attempt down, load, warm up.

        Raises EngineNeeded if nothing can serve before an engine is built, else an ApplianceError in every case.
        """
        try:
            return await self.run(self._load, available)
        except (ApplianceError, EngineNeeded):
            raise
        except Exception as error:
            logger.exception("loading %s version %s failed", available.name, available.version)
            raise Failed(f"loading failed: {type(error).__name__}: {error}") from error

    async def build_engine(self, available: AvailableVersion) -> None:
        """Build the engine of a version and keep it. Raises an ApplianceError; Cancelled after `cancel_build`."""
        job = self._engines.begin(available)
        try:
            await self._loop.run_in_executor(self._builders, self._engines.build, job)
        except asyncio.CancelledError as error:  # the builders were shut down before it was its turn
            self._engines.forget(job)
            raise Cancelled("the appliance is stopping") from error
        except ApplianceError:
            raise
        except Exception as error:
            logger.exception("building the engine of %s version %s failed", available.name, available.version)
            raise Failed(f"building its engine failed: {type(error).__name__}: {error}") from error

    def cancel_build(self, available: AvailableVersion) -> None:
        """End the build of an engine that nobody wants any more, or keep it from beginning."""
        self._engines.cancel(available)

    def drain(self, model: LoadedModel) -> "asyncio.Task[None]":
        """Let a model answer what it has queued, then close it."""
        model.retire()

        async def close() -> None:
            await self._loop.run_in_executor(self._closers, _close, model)
            logger.info("%s version %s is unloaded", model.name, model.version)

        task = asyncio.create_task(close())
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)
        return task

    async def stop_loading(self) -> None:
        """Begin no further load, and wait for those that run: cut off, they would look like crashes."""
        self._engines.close()
        self._builders.shutdown(wait=False, cancel_futures=True)
        await self._loop.run_in_executor(self._closers, lambda: self._loaders.shutdown(cancel_futures=True))

    async def close(self) -> None:
        """Wait for everything that is being closed."""
        if self._drains:
            await asyncio.wait(self._drains)
        self._closers.shutdown(wait=False)

    def abandon(self) -> None:
        """The process ends while loads run: write down that they did not end it."""
        for available in tuple(self._loading.values()):
            self._source.load_finished(available, "the appliance was stopped while loading it")

    def _load(self, available: AvailableVersion) -> LoadedModel:
        refusal = self._source.refusal(available, self._attempts)
        if refusal:
            raise Failed(refusal)
        self._source.verify(available)
        return load_on_best_path(available, self._open, self._engines)

    def _open(self, available: AvailableVersion, **how: Any) -> LoadedModel:
        self._source.load_started(available)
        self._loading[available.name, available.version] = available
        self._began_s[available.name, available.version] = time.monotonic()
        try:
            with self._marks.loading(available):
                model = LoadedModel(
                    available,
                    self._loop,
                    gpu_uuid=self._engines.gpu_uuid,
                    device_lost=self._device_lost,
                    marks=self._marks,
                    **how,
                )
        except BaseException as error:
            # After a lost device the process ends: the attempt stays written down as one that ended it.
            if not (isinstance(error, Failed) and error.device_lost):
                self._source.load_finished(available, str(error) or type(error).__name__)
            raise
        finally:
            del self._loading[available.name, available.version]
            del self._began_s[available.name, available.version]
            give_back_freed_memory()
        self._write_down_success(available)
        return model

    def _write_down_success(self, available: AvailableVersion) -> None:
        try:
            self._source.load_finished(available, "")
        except ApplianceError as error:  # a full disk, say: serving goes on
            logger.warning("%s is loaded, but that could not be written down: %s", available.name, error)


def _close(model: LoadedModel) -> None:
    model.close()
    give_back_freed_memory()
