"""The engine cache: engines that were built on this box, each verified before it is used, bounded in size.

An engine is machine code. Its digest is kept in the ledger, apart from the file, and compared with the bytes that
are then loaded; what does not match is removed and built again. Ownership: an instance holds nothing between calls,
so any number of threads and processes may use their own; changes to one key take turns.
"""

import hashlib
import json
import logging
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from appliance.backends.engine_file import EngineFile
from appliance.backends.tensorrt.engine_disk import Untrusted, disk_refusals, make_durable_directory, seal
from appliance.backends.tensorrt.engine_ledger import EngineLedger
from appliance.backends.tensorrt.engine_slot import HeldSlot, hold, read_engine, try_hold
from appliance.errors import AlreadyExists, ApplianceError, Cancelled, Failed, NotFound
from appliance.model.engine import EnginePlatform, EngineRecord

__all__ = ["EngineLedger", "EngineStore"]

_log = logging.getLogger(__name__)

_KEY = re.compile(r"[0-9a-f]{64}")
_TIMING = "timing"
_LOOK_AGAIN_S = 0.1


class EngineStore:
    """The engines below one directory, with the ledger that vouches for them."""

    def __init__(
        self,
        directory: Path,
        ledger: EngineLedger,
        *,
        largest_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """largest_bytes: what all engines together may take."""
        self.directory = directory
        self.ledger = ledger
        self.largest_bytes = largest_bytes
        self._clock = clock

    def open_store(self) -> None:
        """Create what is missing and remove what was left half-done. Engines that are being built are left alone."""
        with disk_refusals("opening the engine cache"):
            make_durable_directory(self.directory / _TIMING)
            present = {entry.name for entry in self.directory.iterdir() if _KEY.fullmatch(entry.name)}
        for key in sorted(present | {record.key for record in self.ledger.all()}):
            with try_hold(self.directory / key, self.ledger) as slot:
                if slot is not None:
                    slot.tidy()

    def find(self, key: str) -> EngineFile | None:
        """Return the verified engine, None if there is none to be trusted; never waits. The caller closes it.

        What cannot be trusted is removed, unless somebody is just building it.
        """
        try:
            return read_engine(self.directory / key, self.ledger)
        except Untrusted:
            with try_hold(self.directory / key, self.ledger) as slot:
                return None if slot is None else slot.find()

    @contextmanager
    def locked(
        self, key: str, cancelled: threading.Event, waiting: Callable[[], None] = lambda: None
    ) -> Iterator[HeldSlot]:
        """Hold the place of a key, so that nobody builds the same engine at the same time.

        `waiting` is called now and then while another process or thread has it. Raises Cancelled.
        """

        def wait() -> None:
            waiting()
            if cancelled.wait(_LOOK_AGAIN_S):
                raise Cancelled("the wait for another build of the same engine was cancelled")

        with hold(self.directory / key, self.ledger, wait) as slot:
            yield slot

    def put(self, slot: HeldSlot, built: Path, record: EngineRecord) -> EngineFile:
        """Keep a finished engine under its key; others go, the least recently used first, if they are too many.

        Raises Failed if it alone is more than the cache may hold, or if the disk refuses; then nothing is left.
        """
        if record.size_bytes > self.largest_bytes:
            raise Failed(
                f"the engine has {record.size_bytes} bytes, the engine cache may hold {self.largest_bytes}",
                hint=f"set [engines] largest_bytes to {record.size_bytes} or more",
            )
        engine = slot.put(built, record)
        self.prune()  # never the one in `slot`: it is held
        return engine

    def records(self) -> list[EngineRecord]:
        """Return what is recorded, least recently used first."""
        return self.ledger.all()

    def free_bytes(self) -> int:
        """Room on the disk of the engines."""
        with disk_refusals("looking at the disk of the engines"):
            return shutil.disk_usage(self.directory).free

    def used(self, key: str, *, device_bytes: int = 0) -> None:
        """Note that an engine was loaded now, and the GPU memory that it took if that was measured.

        A disk that is full costs the order of pruning only, never the load.
        """
        try:
            self.ledger.used(key, self._clock(), device_bytes)
        except ApplianceError as error:
            _log.warning("that engine %s was used is not recorded: %s", key[:12], error)

    def prune(self, largest_bytes: int | None = None) -> list[EngineRecord]:
        """Remove the least recently used engines until all together take at most `largest_bytes`.

        None: the cache's own bound. Engines that are just being built stay. Returns what was removed.
        """
        bound = self.largest_bytes if largest_bytes is None else largest_bytes
        records = self.ledger.all()
        total_bytes = sum(record.disk_bytes for record in records)
        removed: list[EngineRecord] = []
        for record in records:
            if total_bytes <= bound:
                break
            if self._remove(record):
                total_bytes -= record.disk_bytes
                removed.append(record)
        return removed

    def discard(self, key: str, reason: str) -> None:
        """Remove an engine that turned out to be of no use, unless somebody is just building it."""
        with try_hold(self.directory / key, self.ledger) as slot:
            if slot is not None:
                slot.discard(reason)

    def keep_runtime_cache(self, key: str, data: bytes) -> None:
        """Keep the kernels that TensorRT-RTX compiled for an engine, so that the next start need not."""
        with try_hold(self.directory / key, self.ledger) as slot:
            if slot is not None:
                slot.put_runtime_cache(data)

    def timing_cache(self, platform: EnginePlatform) -> Path:
        """Return where the measurements of one platform are, or would be."""
        mark = hashlib.sha256(json.dumps(asdict(platform), sort_keys=True).encode()).hexdigest()[:8]
        name = f"{platform.flavour}-{platform.flavour_version}-sm{platform.compute_capability}-{mark}.cache"
        return self.directory / _TIMING / re.sub(r"[^A-Za-z0-9._-]", "_", name)

    def keep_timing_cache(self, platform: EnginePlatform, written: Path) -> None:
        """Take over the measurements that a build left, in place of those before it.

        A disk that refuses costs the next build time, and nothing else.
        """
        try:
            if written.is_file():
                seal(written)
                self.timing_cache(platform).parent.mkdir(exist_ok=True)
                written.rename(self.timing_cache(platform))
        except OSError as error:
            _log.warning("the timing cache is not kept: %s", error)

    def export_timing_cache(self, to: Path) -> list[Path]:
        """Copy every timing cache into a directory. Raises NotFound if there is none, AlreadyExists, Failed."""
        present = sorted((self.directory / _TIMING).glob("*.cache"))
        if not present:
            raise NotFound(
                "there is no timing cache yet: a build makes it", hint="build one: appliance engines build MODEL"
            )
        taken = [to / each.name for each in present if (to / each.name).exists()]
        if taken:
            raise AlreadyExists(f"{taken[0]} exists", hint="name another directory with --to")
        with disk_refusals("exporting the timing cache"):
            to.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".export-", dir=to) as private:
                for each in present:
                    shutil.copyfile(each, Path(private) / each.name)
                for each in present:
                    (Path(private) / each.name).rename(to / each.name)
        return [to / each.name for each in present]

    def _remove(self, record: EngineRecord) -> bool:
        with try_hold(self.directory / record.key, self.ledger) as slot:
            if slot is None:
                return False
            slot.remove()
        _log.info("engine %s of %s version %s is pruned", record.key[:12], record.model, record.version)
        return True
