"""How a release that lies among the blobs gets into a slot: in this process, or in one of its own beside clients."""

from typing import Protocol

from appliance.bundle.software_item import SoftwareItem
from appliance.durable import fsync_directory
from appliance.errors import Failed, InvalidInput
from appliance.model.identity import digest_hex
from appliance.slots.filling import fill_from_archive
from appliance.slots.record import SlotName
from appliance.slots.store import SlotStore
from appliance.state_layout import StateLayout


class CountFiles(Protocol):
    """Told of each file that was checked; may raise, which ends the filling."""

    def __call__(self, done: int) -> None:
        """So many files are done."""


class SlotFiller(Protocol):
    """Two implementations: `fill_here` and `staging_process.fill_beside_clients`."""

    def __call__(self, layout: StateLayout, name: SlotName, item: SoftwareItem, count: CountFiles) -> None:
        """Unpack, check and record it. Raises InvalidInput for what is not the signed tree, Failed."""


def fill_here(layout: StateLayout, name: SlotName, item: SoftwareItem, count: CountFiles) -> None:
    """Fill a slot in this process."""
    done = 0

    def one_more(_: str) -> None:
        nonlocal done
        done += 1
        count(done)

    blob = layout.blobs / "sha256" / digest_hex(item.archive.digest)
    try:
        with blob.open("rb") as archive:
            slot = fill_from_archive(SlotStore(layout.slots), name, archive, item.tree, one_more)
    except FileNotFoundError as error:
        raise Failed(f"there is no content {item.archive.digest}", hint="apply the bundle again") from error
    if (slot.version, slot.data_epoch) != (item.software.version, item.software.data_epoch):
        raise InvalidInput(
            f"the tree says that it is software {slot.version} with state of form {slot.data_epoch}, "
            f"its manifest {item.software.version} with {item.software.data_epoch}"
        )


def forget_archive(layout: StateLayout, item: SoftwareItem) -> None:
    """Give back the room of an archive whose tree lies in its slot."""
    blob = layout.blobs / "sha256" / digest_hex(item.archive.digest)
    if blob.exists():
        blob.unlink()
        fsync_directory(blob.parent)
