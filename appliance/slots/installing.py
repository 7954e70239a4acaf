"""A tree that an installation brings: into the first slot of a new box, or on trial beside what runs already.

Trees are root's; the record is the service's, whose user may put anything in its place while root works. So root
works on it as that user: what it names, and where a link leads, is then no more than that user could do anyway.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import Busy
from appliance.slots.arming import arm
from appliance.slots.filling import forget, lay_directory, note
from appliance.slots.places import Places
from appliance.slots.record import Slot, SlotName, SlotRecord
from appliance.slots.tree import CountFile, tree_digest


def install_tree(places: Places, source: Path, count: CountFile) -> str:
    """Install a tree and say in a sentence what happened. Can be repeated. Raises InvalidInput, Failed, Busy."""
    store = places.slots
    with _as_owner(places.state):
        record = store.read_or_begin()
    _require_no_open_update(record)
    record = _without_what_is_gone(places, record)
    digest = tree_digest(source)
    running = record.slots[record.current]
    if not running.usable:
        slot = _fill(places, record.current, source, count)
        return f"software {slot.version} is in slot {record.current}"
    if running.tree == digest:
        return f"software {running.version} is in slot {record.current} already"
    other = record.current.other
    slot = record.slots[other]
    if slot.tree != digest or not slot.usable:
        slot = _fill(places, other, source, count)
    with _as_owner(places.state):
        arm(store, other, ticket="", live=())
    return f"software {slot.version} is in slot {other}: the next start of the service tries it"


def _require_no_open_update(record: SlotRecord) -> None:
    """Leave the slot to an update whose software is on trial there: its ticket would vouch for other software."""
    trial = record.trial
    if trial is not None and trial.ticket:
        raise Busy(
            f"an update's software is on trial in slot {trial.slot}",
            hint="let it end, at most three starts: systemctl start appliance, then appliance update status; then "
            "install again (a package: dpkg --configure -a)",
        )


def _without_what_is_gone(places: Places, record: SlotRecord) -> SlotRecord:
    """Forget slots whose trees are not on the disk, as after a purge: nobody could go back to them."""
    store = places.slots
    gone = [name for name, slot in record.slots.items() if slot.tree and tree_digest(store.path(name)) != slot.tree]
    with _as_owner(places.state):
        for name in gone:
            forget(store, name)
        return store.read()


def _fill(places: Places, name: SlotName, source: Path, count: CountFile) -> Slot:
    with _as_owner(places.state):
        forget(places.slots, name)
    slot = lay_directory(places.slots, name, source, count)
    with _as_owner(places.state):
        return note(places.slots, name, slot)


@contextmanager
def _as_owner(directory: Path) -> Iterator[None]:
    """Have no more rights than the owner of a directory. Nothing changes where that is root, or nobody is root."""
    owner = directory.stat() if os.geteuid() == 0 and directory.exists() else None
    if owner is None or owner.st_uid == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    try:
        os.setgroups([owner.st_gid])
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)
