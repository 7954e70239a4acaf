"""The files of a source directory: regular files only, and only those that are really there.

Invariant: nothing outside the directory is read, and opening never waits.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.errors import InvalidInput
from appliance.registry.package_files import list_package_files, open_package_file, read_package_text

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def list_source_files(directory: Path) -> Mapping[str, Path]:
    """Find every file below `directory`, by relative path, sorted; hidden ones are left out."""
    try:
        return {name: file.path for name, file in list_package_files(directory).items()}
    except InvalidInput as error:
        raise _unreadable(error) from error


def open_source_file(path: Path) -> BinaryIO:
    """Open a regular file for reading, never through a symbolic link."""
    try:
        return open_package_file(path)
    except InvalidInput as error:
        raise _unreadable(error) from error


def read_source_text(path: Path) -> str:
    """Read a small UTF-8 file."""
    try:
        return read_package_text(path)
    except InvalidInput as error:
        raise _unreadable(error) from error


def refuse_unpulled(path: Path) -> None:
    """Refuse what git-lfs leaves in the place of a large file."""
    with open_source_file(path) as stream:
        if stream.read(len(_LFS_POINTER)) != _LFS_POINTER:
            return
    raise ConversionRefused(
        Reason.NO_WEIGHTS,
        f"{path.name} is a git-lfs pointer, not the file itself",
        hint="fetch it where the network is: git lfs pull; then copy the directory here again",
    )


def _unreadable(error: InvalidInput) -> ConversionRefused:
    return ConversionRefused(
        Reason.NO_CONFIG,
        error.message,
        hint=error.hint or "a source is a directory of plain readable files: cp -rL FROM TO makes one",
    )
