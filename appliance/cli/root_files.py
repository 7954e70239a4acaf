"""What root makes on an installed box goes to the service at the end, which could not change it otherwise."""

import os
from collections.abc import Iterator
from pathlib import Path

from appliance.state_layout import SYSTEM_CACHE_DIRECTORY, SYSTEM_STATE_DIRECTORY

OWNED_BY_THE_SERVICE = (SYSTEM_STATE_DIRECTORY, SYSTEM_CACHE_DIRECTORY)


def give_to_service(directories: tuple[Path, ...] = OWNED_BY_THE_SERVICE) -> None:
    """Give what is root's below these directories to their owners. Nothing for whoever is not root."""
    if os.geteuid() != 0:
        return
    for directory in directories:
        try:
            owner = directory.stat()
        except OSError:
            continue
        if owner.st_uid == 0:
            continue
        for path in foreign(directory, owner.st_uid):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


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
