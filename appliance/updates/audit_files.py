"""The files of an audit log: `<number of the first entry>.jsonl` in a row, and `head.json`. Knows no rules.

A line is on the disk before the head names it; the head changes by one rename.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from appliance.durable import fsync_directory, write_file
from appliance.errors import InvalidInput
from appliance.updates.audit_chain import AuditLine
from appliance.updates.audit_entry import LONGEST_LINE_BYTES, AuditHead

_MODE = 0o640
_SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """One file, opened while the log was locked, and how much of it belongs to that moment."""

    name: str
    stream: BinaryIO
    size_bytes: int

    def lines(self) -> Iterator[AuditLine]:
        """Yield whole lines; what stands behind the last line break is on its way, or torn."""
        left = self.size_bytes
        number = 0
        while left > 0 and (data := self.stream.readline(min(left, LONGEST_LINE_BYTES))):
            left -= len(data)
            if data.endswith(b"\n") or len(data) == LONGEST_LINE_BYTES:
                number += 1
                yield AuditLine(self.name, number, data.removesuffix(b"\n"))


class AuditFiles:
    """The directory. Its owner holds the lock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._head = directory / "head.json"

    def segments(self) -> list[int]:
        """Number every file by its first entry, oldest first."""
        names = [path.name.removesuffix(_SUFFIX) for path in self.directory.glob(f"*{_SUFFIX}")]
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def path(self, segment: int) -> Path:
        """Return where a file is, or would be."""
        return self.directory / f"{segment:012d}{_SUFFIX}"

    def size_bytes(self, segment: int) -> int:
        """Return a file's size; 0 if it is not there."""
        try:
            return self.path(segment).stat().st_size
        except FileNotFoundError:
            return 0

    def read_head(self) -> AuditHead | None:
        """Return the head; None if there is none. Raises InvalidInput if it cannot be understood."""
        try:
            data = self._head.read_bytes()
        except FileNotFoundError:
            return None
        head = AuditHead.parse(data)
        if min(head.seq, head.size_bytes) < 0 or head.segment < 1:
            raise InvalidInput("the audit log's head has negative numbers")
        return head

    def write_head(self, head: AuditHead) -> None:
        """Replace the head, durably."""
        write_file(self._head, head.to_bytes(), mode=_MODE)

    def append(self, segment: int, line: bytes) -> int:
        """Add a line at the end of a file, durably. Returns the file's size after it."""
        descriptor = os.open(
            self.path(segment), os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE
        )
        try:
            begins = os.fstat(descriptor).st_size == 0
            left = memoryview(line + b"\n" if _ends_line(descriptor) else b"\n" + line + b"\n")
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
            size_bytes = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if begins:  # before the head names this file
            fsync_directory(self.directory)
        return size_bytes

    def read_from(self, segment: int, offset_bytes: int) -> bytes:
        """Return what stands behind a place in a file, or more than a line can be of it."""
        with suppress(FileNotFoundError), self.path(segment).open("rb") as stream:
            stream.seek(offset_bytes)
            return stream.read(LONGEST_LINE_BYTES + 1)
        return b""

    def line_before(self, segment: int, end_bytes: int) -> bytes:
        """Return the line, without its line break, that ends exactly there; empty if none does."""
        with suppress(FileNotFoundError), self.path(segment).open("rb") as stream:
            stream.seek(max(0, end_bytes - LONGEST_LINE_BYTES))
            data = stream.read(wanted := min(end_bytes, LONGEST_LINE_BYTES))
            if len(data) == wanted and data.endswith(b"\n"):
                return data[:-1].rpartition(b"\n")[2]
        return b""

    def cut(self, segment: int, size_bytes: int) -> None:
        """Shorten a file, durably."""
        descriptor = os.open(self.path(segment), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.ftruncate(descriptor, size_bytes)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, segment: int) -> None:
        """Delete a file, durably."""
        self.path(segment).unlink(missing_ok=True)
        fsync_directory(self.directory)

    def open_segments(self, stack: ExitStack) -> list[OpenSegment]:
        """Open every file as it is now; `stack` closes them."""
        opened = []
        for segment in self.segments():
            stream = stack.enter_context(self.path(segment).open("rb"))
            opened.append(OpenSegment(self.path(segment).name, stream, os.fstat(stream.fileno()).st_size))
        return opened


def _ends_line(descriptor: int) -> bool:
    size_bytes = os.fstat(descriptor).st_size
    return size_bytes == 0 or os.pread(descriptor, 1, size_bytes - 1) == b"\n"
