"""One place of the engine cache: the directory of one key, and the row that vouches for what is in it.

    <key>/engine           the engine, read-only
    <key>/runtime.cache    kernels that TensorRT-RTX compiled for it while it ran
    <key>/build-*/         a build that goes on, or that was killed

Invariants: an engine gets its name only when all of it is on the disk, and its row only after that; so whatever is
cut off leaves a pair that fits, or something that is never used. Whoever changes anything holds the directory's
flock, which dies with its process. A HeldSlot belongs to the block that acquired it.
"""

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from appliance.backends.engine_file import EngineFile
from appliance.backends.tensorrt.engine_disk import (
    Untrusted,
    digest_of,
    disk_refusals,
    read_verified,
    seal,
    sync_directory,
)
from appliance.backends.tensorrt.engine_ledger import EngineLedger
from appliance.errors import Failed
from appliance.model.engine import EngineRecord

_log = logging.getLogger(__name__)

ENGINE, RUNTIME_CACHE = "engine", "runtime.cache"
_OURS = frozenset({ENGINE, RUNTIME_CACHE})
_BUILD = "build-"


class HeldSlot:
    """The place of one key, held by nobody else meanwhile. Use `hold` or `try_hold`."""

    def __init__(self, directory: Path, ledger: EngineLedger) -> None:
        self.directory = directory
        self.key = directory.name
        self._ledger = ledger

    def find(self) -> EngineFile | None:
        """Return the verified engine. What cannot be trusted is removed, and the journal says why."""
        try:
            return read_engine(self.directory, self._ledger)
        except Untrusted as reason:
            self.discard(str(reason))
            return None

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Lend a new directory to build in; it and what is left in it are removed at the end."""
        with disk_refusals("making room for an engine"):
            path = Path(tempfile.mkdtemp(prefix=_BUILD, dir=self.directory))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)  # what stays goes at the next opening of the store

    def put(self, built: Path, record: EngineRecord) -> EngineFile:
        """Take a finished engine in, write its row and read it back.

        Raises Failed if the disk refuses, or gives back other bytes than the builder wrote; then nothing is left.
        """
        try:
            with disk_refusals("keeping the engine"):
                seal(built)
                built.rename(self.directory / ENGINE)
                sync_directory(self.directory)
                sync_directory(self.directory.parent)
            self._ledger.record(record)
            engine = read_engine(self.directory, self._ledger)
        except Untrusted as reason:
            self.discard(str(reason))
            raise Failed(
                f"the engine was not kept as it was built: {reason}", hint="the disk may be failing: journalctl -k"
            ) from reason
        except BaseException:
            with contextlib.suppress(OSError):
                (self.directory / ENGINE).unlink(missing_ok=True)
            raise
        assert engine is not None, "its row was just written"
        return engine

    def put_runtime_cache(self, data: bytes) -> None:
        """Keep what TensorRT-RTX compiled for this engine; nothing happens if the engine is gone."""
        record = self._ledger.find(self.key)
        if record is None:
            return
        with self.workspace() as workspace, disk_refusals("keeping the runtime cache"):
            (workspace / RUNTIME_CACHE).write_bytes(data)
            seal(workspace / RUNTIME_CACHE)
            digest = digest_of(workspace / RUNTIME_CACHE)
            (workspace / RUNTIME_CACHE).rename(self.directory / RUNTIME_CACHE)
            sync_directory(self.directory)
        self._ledger.record(replace(record, runtime_cache_digest=digest, runtime_cache_bytes=len(data)))

    def tidy(self) -> None:
        """Remove what was left half-done: by a build that was killed, or by somebody who deleted half of a pair."""
        with disk_refusals("tidying the engines"):
            present = {entry.name: entry for entry in self.directory.iterdir()}
            for name, entry in present.items():
                if name not in _OURS:
                    _remove(entry)
        if (ENGINE in present) != (self._ledger.find(self.key) is not None):
            self.discard("its file is missing" if ENGINE not in present else "nothing is recorded about it")

    def discard(self, reason: str) -> None:
        """Remove what cannot be trusted, and say so in the journal."""
        _log.warning("engine %s is removed: %s", self.key[:12], reason)
        self.remove()

    def remove(self) -> None:
        """Remove the files of an engine and its row. Files first: on a full disk the row needs their room."""
        with disk_refusals("removing an engine"):
            for name in _OURS:
                _remove(self.directory / name)
            sync_directory(self.directory)
        self._ledger.forget(self.key)


def read_engine(directory: Path, ledger: EngineLedger) -> EngineFile | None:
    """Return the verified engine of a place, None if there is neither file nor row. Changes nothing.

    Raises Untrusted for whatever does not fit together.
    """
    record = ledger.find(directory.name)
    path = directory / ENGINE
    if record is None:
        if os.path.lexists(path):
            raise Untrusted("nothing is recorded about it")
        return None
    with disk_refusals("reading an engine"):
        try:
            data = read_verified(path, record.digest, record.size_bytes)
        except (FileNotFoundError, NotADirectoryError):
            raise Untrusted("its file is missing") from None
        compiled = _runtime_cache(directory, record)
        return EngineFile(path, record.digest, data, _flavour_of(record), compiled, record.device_bytes)


@contextmanager
def hold(directory: Path, ledger: EngineLedger, wait: Callable[[], None]) -> Iterator[HeldSlot]:
    """Hold a place alone. While somebody else does, `wait` is called, which may raise to give up."""
    while (descriptor := _try_lock(directory)) is None:
        wait()
    with _released(descriptor, directory):
        yield HeldSlot(directory, ledger)


@contextmanager
def try_hold(directory: Path, ledger: EngineLedger) -> Iterator[HeldSlot | None]:
    """Hold a place alone if nobody else does; else lend None."""
    descriptor = _try_lock(directory)
    if descriptor is None:
        yield None
        return
    with _released(descriptor, directory):
        yield HeldSlot(directory, ledger)


@contextmanager
def _released(descriptor: int, directory: Path) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty: there is an engine
            directory.rmdir()
        os.close(descriptor)


def _try_lock(directory: Path) -> int | None:
    """Return the descriptor whose closing unlocks the directory, made if it is missing; None if it is held."""
    with disk_refusals("opening the place of an engine"):
        while True:
            descriptor = _opened(directory)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still(descriptor, directory):
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                return None
            os.close(descriptor)  # its holder removed it, so it is another directory now


def _opened(directory: Path) -> int:
    while True:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True)  # what is below /var/cache may be deleted at any time
        try:
            return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # its holder removed it just now
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            _log.warning("%s is removed: it is not a directory", directory)
            directory.unlink(missing_ok=True)


def _is_still(descriptor: int, directory: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), directory.lstat())
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flavour_of(record: EngineRecord) -> str:
    return str(record.facts["platform"]["flavour"])


def _runtime_cache(directory: Path, record: EngineRecord) -> bytes:
    """Compiled kernels are code as well: unless they are what was recorded they are left out, and compiled again."""
    if not record.runtime_cache_digest:
        return b""
    try:
        data = read_verified(directory / RUNTIME_CACHE, record.runtime_cache_digest, record.runtime_cache_bytes)
    except (Untrusted, FileNotFoundError) as reason:
        _log.warning("the runtime cache of engine %s is left out: %s", record.key[:12], reason)
        return b""
    with contextlib.closing(data):
        return data[:]
