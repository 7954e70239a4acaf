"""Which release of a bundle a box takes, if any. Pure: the signed items and the facts about the slots come in."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from appliance.bundle.oci_layers import ItemFile
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.bundle.software_item import SoftwareItem
from appliance.bundle.ticket import TicketItem
from appliance.model.identity import Digest


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """What decides. runs: tree of the current software. filled: trees that wait whole in the other slot."""

    python: str
    machine: str
    variant: str
    runs: str
    filled: Collection[str]
    data_epoch: int


@dataclass(frozen=True, slots=True)
class PlannedSoftware:
    """A release for this box. `missing`: its archive, unless the release lies in its slot already."""

    target: TicketItem
    item: SoftwareItem
    missing: Mapping[Digest, ItemFile]


def planned_software(
    contents: Sequence[tuple[TicketItem, bytes]], slots: SlotFacts | None
) -> tuple[PlannedSoftware | None, tuple[str, ...]]:
    """Choose the release that fits, and name the items that are left out. Raises UpdateRefused, InvalidInput."""
    offered = [(target, _parsed(target, data)) for target, data in contents if target.kind == "software"]
    if offered and slots is None:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"the bundle brings software ({offered[0][0].path}), and this appliance does not run from a slot",
            hint="install the appliance on this box (scripts/install.sh), or update it the way it was installed",
            facts={"items": [target.path for target, _ in offered]},
        )
    if slots is None:
        return None, ()
    fitting = [each for each in offered if _fits(each[1], slots) and each[1].tree != slots.runs]
    left_out = tuple(target.path for target, item in offered if not _fits(item, slots) or item.tree == slots.runs)
    if len(fitting) > 1:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"the bundle brings {len(fitting)} releases of the software for this box, expected at most one",
            hint="ask the signing station for a bundle with one of them",
            facts={"items": [target.path for target, _ in fitting]},
        )
    if offered and not any(_fits(item, slots) for _, item in offered):
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"no release in the bundle is for this box: it has Python {slots.python} on {slots.machine}, "
            f"{slots.variant}",
            hint="ask the signing station for a release for this box",
            facts={
                "items": list(left_out),
                "python": slots.python,
                "machine": slots.machine,
                "variant": slots.variant,
            },
        )
    if not fitting:
        return None, left_out
    target, item = fitting[0]
    _require_readable_state(item, slots)
    missing = {} if item.tree in slots.filled else {item.archive.digest: item.archive}
    return PlannedSoftware(target, item, missing), left_out


def _parsed(target: TicketItem, data: bytes) -> SoftwareItem:
    item = SoftwareItem.parse(data)
    if item.target != target.path:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"{target.path} holds the manifest of {item.target}",
            hint="ask the signing station for a new bundle: this one is put together wrongly",
            facts={"path": target.path, "found": item.target},
        )
    return item


def _fits(item: SoftwareItem, slots: SlotFacts) -> bool:
    software = item.software
    return (software.python, software.machine, software.variant) == (slots.python, slots.machine, slots.variant)


def _require_readable_state(item: SoftwareItem, slots: SlotFacts) -> None:
    if item.software.data_epoch < slots.data_epoch:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"software {item.version} reads state of form {item.software.data_epoch}, "
            f"this box has {slots.data_epoch}",
            hint="go back with: appliance update rollback; or take a release that is as new as this box's",
            facts={"have": slots.data_epoch, "offered": item.software.data_epoch},
        )
