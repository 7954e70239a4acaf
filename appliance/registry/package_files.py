"""The files of a package directory that nobody vouches for: which they are, and how they are opened.

Invariants: nothing outside the directory is ever read (symbolic links are refused by name), opening never waits
(FIFOs, devices and sockets are refused), and every path is printable text that means the same on every machine.
Hidden files (`.DS_Store`, `._model.onnx`, `.git`) are what other systems leave behind: they are no part of a package.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from appliance.errors import InvalidInput

MOST_ENTRIES = 10_000
DEEPEST = 32
LONGEST_NAME_BYTES = 255
LARGEST_TEXT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One regular file of a package, as it was when the directory was listed."""

    path: Path
    size_bytes: int
    modified_ns: int


def check_relative_path(text: str) -> str:
    """Return `text` if it names something below a package: relative, `/` between printable parts, no `.` or `..`.

    Raises InvalidInput otherwise.
    """
    for part in text.split("/"):
        if (
            part in ("", ".", "..")
            or not part.isprintable()
            or len(part.encode("utf-8", "surrogatepass")) > LONGEST_NAME_BYTES
        ):
            raise InvalidInput(
                f"invalid path in a package: {text[:300]!r}: expected a relative path of printable names"
            )
    return text


def list_package_files(directory: Path) -> dict[str, PackageFile]:
    """Find every file below `directory`, by relative path, sorted. Raises InvalidInput for what is no package."""
    found: dict[str, PackageFile] = {}
    for count, (relative, file) in enumerate(_walk(directory, "", 0), start=1):
        if count > MOST_ENTRIES:
            raise InvalidInput(f"{directory}: more than {MOST_ENTRIES} files and directories: not a model package")
        if file is not None:
            found[relative] = file
    return dict(sorted(found.items()))


def open_package_file(path: Path) -> BinaryIO:
    """Open a regular file for reading, never through a symbolic link. Raises InvalidInput."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidInput(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_package_text(path: Path) -> str:
    """Read a small UTF-8 file of a package. Raises InvalidInput."""
    with open_package_file(path) as stream:
        try:
            data = stream.read(LARGEST_TEXT_BYTES + 1)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > LARGEST_TEXT_BYTES:
        raise InvalidInput(f"{path} is larger than {LARGEST_TEXT_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text (byte {error.start})") from error


def _walk(directory: Path, prefix: str, depth: int) -> Iterator[tuple[str, PackageFile | None]]:
    """Yield every file and (with None) every directory."""
    if depth > DEEPEST:
        raise InvalidInput(f"{directory}: more than {DEEPEST} directories deep: not a model package")
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield from _classified(entry, check_relative_path(prefix + entry.name), depth)
    except OSError as error:
        raise InvalidInput(f"{error.filename or directory} cannot be read: {error.strerror}") from error


def _classified(entry: os.DirEntry[str], relative: str, depth: int) -> Iterator[tuple[str, PackageFile | None]]:
    path = Path(entry.path)
    found = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        raise InvalidInput(f"{path} is a symbolic link", hint="put a copy of the file there: cp -rL FROM TO")
    if stat.S_ISDIR(found.st_mode):
        yield relative, None
        yield from _walk(path, relative + "/", depth + 1)
    elif stat.S_ISREG(found.st_mode):
        if not os.access(path, os.R_OK):
            raise InvalidInput(f"{path} cannot be read: Permission denied")
        yield relative, PackageFile(path, found.st_size, found.st_mtime_ns)
    else:
        raise InvalidInput(f"{path} is not a regular file (a FIFO, a socket or a device)")
