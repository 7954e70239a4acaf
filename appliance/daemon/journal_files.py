"""The journal's files on this machine: whether there are any, and whether this user may read them."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from appliance.errors import Failed

JOURNALS = (Path("/run/log/journal"), Path("/var/log/journal"))


def require_journal(as_root: str, places: Iterable[Path] = JOURNALS) -> str:
    """Return the program that shows the journal, once there is one to show.

    as_root: what to type where only root may read it. Raises Failed.
    """
    there = [place for place in places if place.is_dir()]
    if there and not may_read_journal(there):
        raise Failed("the journal cannot be read by this user", hint=as_root)
    if there and not any(_files(place, "*.journal*") for place in there):
        raise Failed(
            f"the journal has no files in {' or '.join(map(str, there))}",
            hint="see whether it is kept: systemctl status systemd-journald, and Storage= in: "
            "systemd-analyze cat-config systemd/journald.conf",
        )
    program = shutil.which("journalctl")
    if program is None or not there:
        raise Failed(
            "this machine has no systemd journal",
            hint="an appliance that was started by hand writes to its terminal; "
            "keep it with: appliance serve 2> FILE",
        )
    return program


def may_read_journal(places: Iterable[Path]) -> bool:
    """Whether this user may read what the system's units wrote; True where nothing has been written yet.

    The directories tell nothing: all users may list them, the files are for root and the group systemd-journal.
    """
    hidden = False
    for place in places:
        files = _files(place, "system*.journal")
        if any(_readable(file) for file in files):
            return True
        hidden = hidden or bool(files) or (place.is_dir() and not _readable(place))
    return not hidden


def _files(place: Path, pattern: str) -> list[Path]:
    return list(place.glob(f"*/{pattern}"))


def _readable(path: Path) -> bool:
    return os.access(path, os.R_OK, effective_ids=True)
