"""Which instances of one loaded version execute now, in a file that outlives the process.

The file is mapped into memory, shared: what is stored there belongs to the kernel at once, so no way for a process
to die loses it, and a store is no system call. It holds a header that says whose it is, then two bytes for each
instance: whether it executes, and whether it hangs.

Ownership: made and closed by a loader thread; the bytes of an instance are written by whoever runs that instance.
"""

import json
import logging
import mmap
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from appliance.errors import InvalidInput
from appliance.model.identity import ModelName, ModelVersion, parse_digest, parse_model_name, parse_model_version

logger = logging.getLogger(__name__)

HEADER_BYTES = 1024
_FORM = 1  # of the file; another number, and it is another software's
_BYTES_OF_INSTANCE = 2
_HUNG = 1  # second byte of an instance


@dataclass(frozen=True, slots=True)
class MarkedVersion:
    """Whose marks they are. process: its random name. boot: the kernel's. digest: '' without a registry.

    loading: they say only that it was being loaded.
    """

    process: str
    boot: str
    name: ModelName
    version: ModelVersion
    digest: str
    loading: bool = False


class VersionMarks:
    """The marks of one version. Without a directory they are kept in memory only."""

    def __init__(self, instances: int, path: Path | None = None, whose: MarkedVersion | None = None) -> None:
        """Write the file whole. Raises OSError."""
        self._path = path
        size = HEADER_BYTES + instances * _BYTES_OF_INSTANCE
        if path is None or whose is None:
            self.bytes = mmap.mmap(-1, size)
            return
        header = json.dumps({"form": _FORM} | asdict(whose)).encode().ljust(HEADER_BYTES - 1) + b"\n"
        assert len(header) == HEADER_BYTES, header
        partial = path.with_suffix(".tmp")
        try:
            # Every byte is written, not left to the mapping: without room for it a store would end the process.
            partial.write_bytes(header + bytes(size - HEADER_BYTES))
        except OSError:
            partial.unlink(missing_ok=True)  # the next process would find a file that says nothing
            raise
        descriptor = os.open(partial, os.O_RDWR | os.O_CLOEXEC)
        try:
            self.bytes = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        partial.replace(path)

    @staticmethod
    def place(instance: int) -> int:
        """Where in `bytes` an instance says that it executes: 1 while it does."""
        return HEADER_BYTES + instance * _BYTES_OF_INSTANCE

    def note_hung(self, hung: Sequence[bool]) -> None:
        """Say which of the first instances hang: then they are to blame, and not those that were busy beside them."""
        for instance, hangs in enumerate(hung):
            self.bytes[self.place(instance) + _HUNG] = hangs

    def close(self) -> None:
        """Take the file away, unless an instance never came back. The mapping goes with whoever may still store."""
        if self._path is None or any(self.bytes[HEADER_BYTES::_BYTES_OF_INSTANCE]):
            return
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:  # without a mark in it, it blames nobody
            logger.warning("%s stays behind: %s", self._path, error.strerror)


@dataclass(frozen=True, slots=True)
class LeftMarks:
    """What a process left behind of one version."""

    whose: MarkedVersion
    executing: int  # instances; 1 if it was being loaded
    hung: int  # of them


def read_marks(path: Path) -> LeftMarks:
    """Read the file of a process that is gone. Raises InvalidInput if it is no such file, OSError."""
    data = path.read_bytes()
    marks = data[HEADER_BYTES:]
    if len(data) <= HEADER_BYTES or len(marks) % _BYTES_OF_INSTANCE or not set(marks) <= {0, 1}:
        raise InvalidInput(f"{path} has {len(data)} bytes, expected {HEADER_BYTES} and marks behind them")
    pairs = list(zip(marks[::_BYTES_OF_INSTANCE], marks[_HUNG::_BYTES_OF_INSTANCE], strict=True))
    return LeftMarks(
        _whose(path, data[:HEADER_BYTES]),
        executing=sum(executes for executes, _ in pairs),
        hung=sum(executes and hangs for executes, hangs in pairs),
    )


def _whose(path: Path, header: bytes) -> MarkedVersion:
    try:
        written = json.loads(header)
        _require_our_form(written["form"])
        return MarkedVersion(
            process=str(written["process"]),
            boot=str(written["boot"]),
            name=parse_model_name(written["name"]),
            version=parse_model_version(str(written["version"])),
            digest=written["digest"] and parse_digest(written["digest"]),
            loading=bool(written["loading"]),
        )
    except (InvalidInput, ValueError, TypeError, KeyError) as error:
        raise InvalidInput(f"{path} does not say whose it is: {error}") from error


def _require_our_form(found: object) -> None:
    if found != _FORM:
        raise InvalidInput(f"it has form {found}, expected {_FORM}: other software wrote it")
