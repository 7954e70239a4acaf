"""Engines for versions of models: from the cache, or built and kept there.

A build begins only if memory and disk have room for it, happens once however many ask for it at the same time, and
leaves a verified engine or nothing.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from appliance.backends.engine_file import EngineFile
from appliance.backends.tensorrt.build_request import BuildProgress, BuildRequest, BuildResult
from appliance.backends.tensorrt.engine_builder import build_engine
from appliance.backends.tensorrt.engine_disk import PRUNE, disk_refusals
from appliance.backends.tensorrt.engine_identity import EngineVersion, build_options, engine_key, model_digest
from appliance.backends.tensorrt.engine_slot import ENGINE, HeldSlot
from appliance.backends.tensorrt.engine_store import EngineStore
from appliance.backends.tensorrt.engine_target import EngineTarget
from appliance.backends.tensorrt.profiles import largest_batch
from appliance.errors import Failed, InvalidInput
from appliance.model.engine import EngineKey, EngineRecord
from appliance.settings import EngineSettings

Advance = Callable[[BuildProgress], None]

WAITING = "waiting for another process that builds it"
_TIMING_CACHE = "timing.cache"
# Measured with TensorRT-RTX 1.7 on models of 1 to 90 MB: 230 MiB and four times the model.
_BUILDER_BYTES = 512 * 1024 * 1024
_MEMORY_COPIES = 4
# Measured there: an engine has its weights and at most 5 MiB more; beside it lies the part that is being written.
_ENGINE_BYTES = 8 * 1024 * 1024
_DISK_COPIES = 2


@dataclass(frozen=True, slots=True)
class ObtainedEngine:
    """An engine that may be loaded, and whether it was there already. The receiver closes `file`."""

    file: EngineFile
    record: EngineRecord
    cached: bool


class EngineSupply:
    """Obtains engines for one target."""

    def __init__(
        self,
        store: EngineStore,
        target: EngineTarget,
        settings: EngineSettings,
        *,
        clock: Callable[[], float] = time.time,
        free_memory: Callable[[], int] = lambda: int(psutil.virtual_memory().available),
    ) -> None:
        """free_memory: bytes that a new process could have."""
        self._store = store
        self._target = target
        self._settings = settings
        self._clock = clock
        self._free_memory = free_memory

    def key(self, version: EngineVersion) -> EngineKey:
        """Name the engine that a version needs here. Reads the whole model. Raises InvalidInput."""
        options = build_options(version.config, self._settings.optimization_level)
        return engine_key(version, self._target.platform, options)

    def find(self, version: EngineVersion) -> EngineFile | None:
        """Return the verified engine of a version, None if it has to be built; never waits. The caller closes it.

        Raises InvalidInput.
        """
        key = self.key(version).text
        engine = self._store.find(key)
        if engine is not None:
            self._store.used(key)
        return engine

    def build(self, version: EngineVersion, advance: Advance, cancelled: threading.Event) -> None:
        """Make sure that a version's engine is kept. Raises as `obtain`."""
        self.obtain(version, advance, cancelled).file.close()

    def obtain(self, version: EngineVersion, advance: Advance, cancelled: threading.Event) -> ObtainedEngine:
        """Return a version's engine, built now if need be. Blocks, for minutes if need be.

        Raises InvalidInput (the model, its parameters, the target), Failed (memory, disk, time, a crash), Cancelled;
        then nothing is left of the build.
        """
        key = self.key(version)
        began_s = time.monotonic()

        def waiting() -> None:
            advance(BuildProgress(WAITING, 0.0, time.monotonic() - began_s))

        with self._store.locked(key.text, cancelled, waiting) as slot:
            engine = slot.find()
            if engine is None:
                return self._build(version, key, slot, advance, cancelled)
            record = self._store.ledger.find(key.text)
        assert record is not None, "it vouched for the engine"
        self._store.used(key.text)
        return ObtainedEngine(engine, record, cached=True)

    def _build(
        self,
        version: EngineVersion,
        key: EngineKey,
        slot: HeldSlot,
        advance: Advance,
        cancelled: threading.Event,
    ) -> ObtainedEngine:
        model_bytes = _model_bytes(version.model_file)
        self._require_memory(version, model_bytes)
        self._require_disk(version, model_bytes)
        with slot.workspace() as workspace:
            timing_cache = self._timing_cache(workspace)
            request = BuildRequest(
                model_file=version.model_file,
                profiles=key.profiles,
                max_batch_size=largest_batch(version.config),
                compute_capability=self._target.platform.compute_capability,
                gpu_uuid=self._target.gpu_uuid,
                options=build_options(version.config, self._settings.optimization_level),
                memory_bytes=self._settings.build_memory_bytes,
                timeout_s=self._settings.build_timeout_s,
                timing_cache=timing_cache,
            )
            result = build_engine(self._target.flavour, request, workspace / ENGINE, advance, cancelled)
            if model_digest(version.model_file) != key.onnx_digest:
                raise InvalidInput(f"{version.model_file} changed while its engine was built", hint="try again")
            record = self._record(version, key, result)
            engine = self._store.put(slot, workspace / ENGINE, record)
            self._store.keep_timing_cache(self._target.platform, timing_cache)
        return ObtainedEngine(engine, record, cached=False)

    def _timing_cache(self, workspace: Path) -> Path:
        """Give the build a copy of its own: what is cut off in the middle never gets back into the store."""
        kept, own = self._store.timing_cache(self._target.platform), workspace / _TIMING_CACHE
        if kept.is_file():
            with disk_refusals("copying the timing cache"):
                own.write_bytes(kept.read_bytes())
        return own

    def _record(self, version: EngineVersion, key: EngineKey, result: BuildResult) -> EngineRecord:
        now = self._clock()
        return EngineRecord(
            key=key.text,
            digest=result.digest,
            size_bytes=result.size_bytes,
            model=version.name,
            version=version.version,
            facts=key.facts,
            build_s=result.seconds,
            build_peak_bytes=result.peak_bytes,
            built_at=now,
            used_at=now,
        )

    def _require_memory(self, version: EngineVersion, model_bytes: int) -> None:
        needed, free = _BUILDER_BYTES + _MEMORY_COPIES * model_bytes, self._free_memory()
        if free < needed:
            raise Failed(
                f"not enough memory to build the engine of '{version.name}': about {_mebibytes(needed)} needed, "
                f"{_mebibytes(free)} free",
                hint="see what takes it: appliance status; or unload a model: appliance models deactivate NAME",
            )

    def _require_disk(self, version: EngineVersion, model_bytes: int) -> None:
        """Prune where that helps. Raises Failed if there is no room all the same."""
        needed = _ENGINE_BYTES + _DISK_COPIES * model_bytes
        free = self._store.free_bytes()
        total = sum(record.disk_bytes for record in self._store.records())
        if free < needed <= free + total:
            self._store.prune(total - (needed - free))
            free = self._store.free_bytes()
        if free < needed:
            raise Failed(
                f"not enough room on the disk of {self._store.directory} to build the engine of '{version.name}': "
                f"about {_mebibytes(needed)} needed, {_mebibytes(free)} free",
                hint=f"make room, for example: appliance models gc, or {PRUNE}",
            )


def _model_bytes(model_file: Path) -> int:
    return sum(path.lstat().st_size for path in model_file.parent.rglob("*") if path.is_file())


def _mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"
