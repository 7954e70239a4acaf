"""What root makes on an installed box goes to the service at the end, which could not change it otherwise.

The service's user may rename what lies in its own directories while root walks them: nothing is reached by a path of
several names, and no link is followed.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from appliance.errors import InvalidInput
from appliance.settings import load_settings
from appliance.state_layout import SYSTEM_CACHE_DIRECTORY, SYSTEM_STATE_DIRECTORY

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def owned_by_the_service() -> tuple[Path, ...]:
    """Name the directories that are the service's: those of an installation, and the state that its settings name."""
    usual = (SYSTEM_STATE_DIRECTORY, SYSTEM_CACHE_DIRECTORY)
    try:
        state = load_settings().layout.root
    except InvalidInput:  # the command itself has said so
        return usual
    return usual if state in usual else (*usual, state)


def give_to_service(directories: tuple[Path, ...] | None = None) -> list[str]:
    """Give what is root's below these directories to their owners. Nothing for whoever is not root.

    Returns a sentence for each directory where that could not be done. Never raises OSError: the command has ended.
    """
    if os.geteuid() != 0:
        return []
    wanted = owned_by_the_service() if directories is None else directories
    return [problem for directory in wanted if (problem := _give(directory))]


def foreign(directory: Path, owner: int) -> Iterator[Path]:
    """Yield what lies below a directory and does not belong to this user; what vanishes meanwhile is left out."""
    for place, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(place, name)
            try:
                if path.lstat().st_uid != owner:
                    yield path
            except FileNotFoundError:
                continue


def _give(directory: Path) -> str:
    try:
        descriptor = os.open(directory, _OPEN_DIRECTORY)
    except OSError:  # not there, or not what it should be: doctor says so
        return ""
    try:
        owner = os.fstat(descriptor)
        if owner.st_uid != 0:
            _give_below(descriptor, owner)
    except OSError as error:
        return f"what root made in {directory} could not be given to the service: {error.strerror}"
    finally:
        os.close(descriptor)
    return ""


def _give_below(directory: int, owner: os.stat_result) -> None:
    for _, directories, files, place in os.fwalk(".", dir_fd=directory, follow_symlinks=False):
        for name in (*directories, *files):
            try:
                if os.stat(name, dir_fd=place, follow_symlinks=False).st_uid != owner.st_uid:
                    os.chown(name, owner.st_uid, owner.st_gid, dir_fd=place, follow_symlinks=False)
            except FileNotFoundError:  # it vanished meanwhile
                continue
