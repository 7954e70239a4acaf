"""A stick, or a directory that plays one: read-only, trusted in nothing, and expected to disappear at any moment.

Invariants: only regular files below the bundle's directory are ever opened, component by component, so that no link,
FIFO or device can lead elsewhere or make a reader wait; "not there" and "cannot be read" are never confused, because
a bad sector must not look like the end of the chain of roots.
"""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol, Self

from appliance.bundle.layout import BUNDLE_DIRECTORY, METADATA_DIRECTORY
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.updates.read_ahead import chunks

_MOST_ENTRIES = 10_000
_PIECE_BYTES = 256 * 1024
_FOREIGN = frozenset({"System Volume Information", "$RECYCLE.BIN", "FOUND.000", "LOST.DIR", "lost+found"})
_NO_BUNDLE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES})
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class NotOnMedium(Exception):
    """The file is not there. Not an ApplianceError: whoever asked knows what that means."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class MetadataSource(Protocol):
    """Where metadata and small targets are read from: a Medium, or what tests of conformance put in its place."""

    def names(self, relative: str) -> list[str]:
        """List a directory; nothing if it is not there, or cannot be listed."""

    def open_file(self, relative: str) -> io.RawIOBase:
        """Open a file, unbuffered. Raises NotOnMedium, UpdateRefused (MEDIUM_IO)."""

    def read(self, relative: str, limit_bytes: int) -> bytes:
        """Return a whole small file. Raises NotOnMedium, UpdateRefused (HASH_MISMATCH if larger, MEDIUM_IO)."""


class Medium:
    """One bundle. `place`: where the stick is mounted; `name`: of the bundle's directory; `asked_for`: or ''."""

    def __init__(self, place: Path, name: str, asked_for: str, directory: int) -> None:
        """Use `open`; `directory` is a descriptor that belongs to it."""
        self.place = place
        self.name = name
        self.asked_for = asked_for
        self._directory = directory

    @classmethod
    @contextmanager
    def open(cls, place: Path, bundle: str = "") -> Iterator[Self]:
        """Find the one bundle: `place` itself, or a directory in it; `bundle` names one of several.

        Raises UpdateRefused: INCOMPLETE_MEDIUM, AMBIGUOUS_MEDIUM, MEDIUM_IO.
        """
        place = place.absolute()
        with _io_errors(place):
            descriptor = _open_place(place)
            try:
                name = _the_bundle(place, descriptor, bundle)
                directory = _open_bundle(place, descriptor, name)
            finally:
                os.close(descriptor)
        try:
            yield cls(place, place.name if name == "." else name, bundle, directory)
        finally:
            os.close(directory)

    def exists(self, relative: str) -> bool:
        """Whether a regular file is there."""
        try:
            self.open_file(relative).close()
        except NotOnMedium:
            return False
        return True

    def read(self, relative: str, limit_bytes: int) -> bytes:
        """Return a whole small file; little more than the limit is ever read, and never for long.

        Raises NotOnMedium, UpdateRefused (HASH_MISMATCH if it is larger, MEDIUM_IO).
        """
        data = bytearray()
        with self.open_file(relative) as stream, closing(chunks(stream, _PIECE_BYTES)) as pieces:
            for piece in pieces:
                data += piece
                if len(data) > limit_bytes:
                    break
        if len(data) > limit_bytes:
            raise UpdateRefused(
                Refusal.HASH_MISMATCH,
                f"{relative} is larger than the {limit_bytes} bytes that it may have",
                hint="copy the bundle to the stick again",
                facts={"file": relative, "limit": limit_bytes},
            )
        return bytes(data)

    def open_file(self, relative: str) -> io.FileIO:
        """Open a regular file, unbuffered. Raises NotOnMedium, UpdateRefused (MEDIUM_IO)."""
        *directories, name = relative.split("/")
        if any(part in ("", ".", "..") for part in (*directories, name)) or not _can_be_a_name(relative):
            raise NotOnMedium(relative)
        with _io_errors(relative):
            descriptor = os.dup(self._directory)
            try:
                for directory in directories:
                    descriptor = _replaced(descriptor, os.open(directory, _DIRECTORY, dir_fd=descriptor))
                opened = os.open(name, _FILE, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            return _regular_file(opened, relative)

    def names(self, relative: str) -> list[str]:
        """List a directory of the bundle, sorted; nothing if it is not there. Raises UpdateRefused."""
        with contextlib.suppress(NotOnMedium), _io_errors(relative):
            descriptor = os.open(relative, _DIRECTORY, dir_fd=self._directory)
            try:
                return _names(descriptor, relative)
            finally:
                os.close(descriptor)
        return []


def _can_be_a_name(relative: str) -> bool:
    """Whether the operating system takes it at all: no NUL, no half of a surrogate pair."""
    return "\0" not in relative and not any("\ud800" <= character <= "\udfff" for character in relative)


def _replaced(descriptor: int, by: int) -> int:
    os.close(descriptor)
    return by


def _regular_file(descriptor: int, relative: str) -> io.FileIO:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UpdateRefused(
            Refusal.MEDIUM_IO,
            f"{relative} on the medium is not a regular file",
            hint="copy the bundle to an empty stick",
            facts={"file": relative},
        )
    return io.FileIO(descriptor, "rb", closefd=True)


def _open_place(place: Path) -> int:
    """Open the mount point. A person named it, so it may be a link."""
    try:
        return os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UpdateRefused(
            Refusal.INCOMPLETE_MEDIUM,
            f"{place} is not a directory",
            hint="name the directory where the stick is mounted",
            facts={"place": str(place)},
        ) from error


def _the_bundle(place: Path, descriptor: int, wanted: str) -> str:
    if not wanted and _is_bundle(descriptor, "."):
        return "."
    found = [
        name
        for name in _names(descriptor, str(place))
        # A name that cannot be printed could not be told either, on a terminal or in a log.
        if name.isprintable() and not name.startswith(".") and name not in _FOREIGN and _is_bundle(descriptor, name)
    ]
    if wanted:
        found = [name for name in found if name == wanted]
    if not found:
        raise UpdateRefused(
            Refusal.INCOMPLETE_MEDIUM,
            f"there is no bundle {f'named {wanted} ' if wanted else ''}in {place}",
            hint=f"a bundle is a directory such as {BUNDLE_DIRECTORY} with {METADATA_DIRECTORY}/timestamp.json in it",
            facts={"place": str(place)},
        )
    if len(found) > 1:
        raise UpdateRefused(
            Refusal.AMBIGUOUS_MEDIUM,
            f"there are {len(found)} bundles in {place}: {', '.join(found[:10])}",
            hint=f"name the one that you want: --bundle {found[0]}",
            facts={"bundles": found[:100]},
        )
    return found[0]


def _open_bundle(place: Path, descriptor: int, name: str) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=descriptor)
    except FileNotFoundError as error:  # it was there a moment ago
        raise UpdateRefused(
            Refusal.INCOMPLETE_MEDIUM,
            f"{name} went away from {place}",
            hint="is the stick still plugged in? Try again",
            facts={"place": str(place)},
        ) from error


def _is_bundle(descriptor: int, name: str) -> bool:
    try:
        directory = os.open(name, _DIRECTORY, dir_fd=descriptor)
    except OSError as error:
        if error.errno in _NO_BUNDLE:
            return False
        raise
    try:
        return stat.S_ISREG(os.stat(f"{METADATA_DIRECTORY}/timestamp.json", dir_fd=directory).st_mode)
    except OSError as error:
        if error.errno in _NO_BUNDLE:
            return False
        raise
    finally:
        os.close(directory)


def _names(descriptor: int, what: str) -> list[str]:
    names = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > _MOST_ENTRIES:
                raise UpdateRefused(
                    Refusal.MEDIUM_IO,
                    f"{what} has more than {_MOST_ENTRIES} entries",
                    hint="copy the bundle to an empty stick",
                    facts={"place": what},
                )
    return sorted(names)


@contextmanager
def _io_errors(what: Path | str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotOnMedium(str(what)) from error
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror or str(error)
        raise UpdateRefused(
            Refusal.MEDIUM_IO,
            f"{what} on the medium cannot be read: {reason}",
            hint="is the stick still plugged in? Try again, then another stick",
            facts={"file": str(what), "reason": reason},
        ) from error
