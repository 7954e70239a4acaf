"""A tree that an installation brings: into the first slot of a new box, or on trial beside what runs already."""

import os
import shutil
import stat
from pathlib import Path

from appliance.durable import make_directory
from appliance.slots.arming import arm
from appliance.slots.filling import fill_from_directory
from appliance.slots.places import Places
from appliance.slots.tree import CountFile, tree_digest


def install_tree(places: Places, source: Path, count: CountFile) -> str:
    """Install a tree and say in a sentence what happened. Can be repeated. Raises InvalidInput, Failed."""
    store = places.slots
    make_directory(store.directory)
    record = store.read()
    digest = tree_digest(source)
    _forget_bytecode(places)
    try:
        running = record.slots[record.current]
        if not running.usable or tree_digest(store.path(record.current)) != running.tree:
            slot = fill_from_directory(store, record.current, source, count)
            return f"software {slot.version} is in slot {record.current}"
        if running.tree == digest:
            return f"software {running.version} is in slot {record.current} already"
        other = record.current.other
        slot = record.slots[other]
        if slot.tree != digest or not slot.usable:
            slot = fill_from_directory(store, other, source, count)
        arm(store, other, ticket="", live=())
        return f"software {slot.version} is in slot {other}: the next start of the service tries it"
    finally:
        _give_to_owner(places)


def _forget_bytecode(places: Places) -> None:
    """Forget what root compiled of trees that may be gone; the next command compiles again."""
    shutil.rmtree(places.roots_bytecode, ignore_errors=True)


def _give_to_owner(places: Places) -> None:
    """The record that root wrote belongs to whoever owns the state directory: the daemon writes it next.

    Nothing is followed: that user may put anything in its place meanwhile.
    """
    if os.geteuid() != 0:
        return
    owner = places.state.stat()
    directory = os.open(places.slots.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(directory, owner.st_uid, owner.st_gid)
        for name in os.listdir(directory):  # noqa: PTH208  (a Path could be another directory by now)
            _give_file(directory, name, owner)
    finally:
        os.close(directory)


def _give_file(directory: int, name: str, owner: os.stat_result) -> None:
    """Give one file of root away; a second name of it would lie elsewhere, so it stays."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == 0:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    finally:
        os.close(descriptor)
