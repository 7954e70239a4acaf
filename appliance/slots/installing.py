"""A tree that an installation brings: into the first slot of a new box, or on trial beside what runs already."""

import os
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
    try:
        if not record.slots[record.current].usable:
            slot = fill_from_directory(store, record.current, source, count)
            return f"software {slot.version} is in slot {record.current}"
        if record.slots[record.current].tree == digest:
            return f"software {record.slots[record.current].version} is in slot {record.current} already"
        other = record.current.other
        slot = record.slots[other]
        if slot.tree != digest or not slot.usable:
            slot = fill_from_directory(store, other, source, count)
        arm(store, other, ticket="", live=())
        return f"software {slot.version} is in slot {other}: the next start of the service tries it"
    finally:
        _give_to_owner(places)


def _give_to_owner(places: Places) -> None:
    """What root filled belongs to whoever owns the state directory: the daemon writes the record."""
    if os.geteuid() != 0:
        return
    owner = places.state.stat()
    for directory, _, files in os.walk(places.slots.directory):
        for path in (Path(directory), *(Path(directory) / name for name in files)):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
