"""How a release that lies among the blobs gets into a slot: written by this process, or on an installed box by root.

There the slots are out of the service's reach, so that whoever takes the service over cannot change what starts next,
nor what root runs when root types a command. The service asks root's part of the installation (adoption.py) over a
socket of systemd; what it may say is which slot, and where the bundle lies.
"""

import itertools
import json
import socket
from pathlib import Path
from typing import Protocol

from appliance.bundle.software_item import SoftwareItem
from appliance.durable import fsync_directory
from appliance.errors import Failed, InvalidInput
from appliance.model.identity import digest_hex
from appliance.slots.filling import Expected, fill_from_archive, forget, note
from appliance.slots.record import Slot, SlotName
from appliance.slots.store import SlotStore
from appliance.slots.tree import CountFile
from appliance.state_layout import SYSTEM_SOFTWARE_SOCKET, StateLayout
from appliance.updates.medium import Medium
from appliance.updates.order_lines import follow

_PATIENCE_S = 600.0  # between two words: a whole tree is unpacked before its first file is checked


class CountFiles(Protocol):
    """Told of each file that was checked; may raise, which ends the filling."""

    def __call__(self, done: int) -> None:
        """So many files are done."""


class SlotFiller(Protocol):
    """Two implementations: `fill_here` and `InstallationFiller`."""

    def __call__(
        self, layout: StateLayout, medium: Medium, name: SlotName, item: SoftwareItem, count: CountFiles
    ) -> None:
        """Unpack, check and record it. Raises InvalidInput for what is not the signed tree, UpdateRefused, Failed."""


def filler_of(layout: StateLayout) -> SlotFiller:
    """Choose by whose the slots are."""
    return InstallationFiller(SYSTEM_SOFTWARE_SOCKET) if layout.is_installed else fill_here


def fill_here(
    layout: StateLayout,
    medium: Medium,  # noqa: ARG001  (what is here was verified here)
    name: SlotName,
    item: SoftwareItem,
    count: CountFiles,
) -> None:
    """Fill a slot in this process."""
    try:
        with archive_of(layout, item).open("rb") as archive:
            store = SlotStore(layout.slots, layout.software)
            slot = fill_from_archive(store, name, archive, expected_of(item), counter(count))
    except FileNotFoundError as error:
        raise Failed(f"there is no content {item.archive.digest}", hint="apply the bundle again") from error
    require_as_signed(slot, item)


class InstallationFiller:
    """Lets root's part of the installation lay the tree, and writes the record."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(
        self, layout: StateLayout, medium: Medium, name: SlotName, item: SoftwareItem, count: CountFiles
    ) -> None:
        """Ask, follow, record."""
        store = SlotStore(layout.slots, layout.software)
        forget(store, name)
        order = {"slot": name.value, "tree": item.tree, "place": str(medium.place), "bundle": medium.asked_for}
        if not self._carried_out(order, count):
            raise Failed(
                "what lays software into its slot ended and did not say why",
                hint="see why: journalctl --unit 'appliance-software@*'; then apply the update again",
            )
        note(store, name, Slot(item.tree, item.software.version, item.software.data_epoch))

    def _carried_out(self, order: dict[str, str], count: CountFiles) -> bool:
        with self._connected() as connection, connection.makefile("rw", encoding="utf-8") as stream:
            try:
                stream.write(json.dumps(order) + "\n")
                stream.flush()
                return follow(stream, lambda told: count(told["files"]))
            except OSError:  # it died, or has said nothing for too long
                return False

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_PATIENCE_S)
        try:
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            raise Failed(
                f"nobody lays software into its slot: {self._path}: {error.strerror}",
                hint="systemctl start appliance-software.socket; then apply the update again",
            ) from error
        return connection


def counter(count: CountFiles) -> CountFile:
    """Turn what wants to know how many files are done into what is called for each of them."""
    done = itertools.count(1)
    return lambda _: count(next(done))


def expected_of(item: SoftwareItem) -> Expected:
    """What a release's archive has to be."""
    return Expected(item.tree, item.archive.size_bytes, item.unpacked_bytes, item.file_count)


def archive_of(layout: StateLayout, item: SoftwareItem) -> Path:
    """Where a release's archive lies when it was brought."""
    return layout.blobs / "sha256" / digest_hex(item.archive.digest)


def require_as_signed(slot: Slot, item: SoftwareItem) -> None:
    """Refuse a tree that says something else of itself than its manifest. Raises InvalidInput."""
    if (slot.version, slot.data_epoch) != (item.software.version, item.software.data_epoch):
        raise InvalidInput(
            f"the tree says that it is software {slot.version} with state of form {slot.data_epoch}, "
            f"its manifest {item.software.version} with {item.software.data_epoch}"
        )


def forget_archive(layout: StateLayout, item: SoftwareItem) -> None:
    """Give back the room of an archive whose tree lies in its slot."""
    blob = archive_of(layout, item)
    if blob.exists():
        blob.unlink()
        fsync_directory(blob.parent)
