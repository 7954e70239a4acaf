"""What the owner ordered: the signed ticket, and the release in it that this machine can run. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from appliance.bundle.canonical_json import parse_canonical
from appliance.bundle.layout import PRODUCT
from appliance.bundle.moments import parse_moment
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.bundle.software_item import SoftwareItem
from appliance.errors import InvalidInput

_NEW_BUNDLE = "ask the signing station for a new bundle: this one is put together wrongly"


@dataclass(frozen=True, slots=True)
class Order:
    """A ticket, as far as a box without an owner can use it. software: target -> SHA-256 in hex.

    devices: for whom it is, in words. A bare box has no name that this could be compared with.
    """

    ticket: str
    issued: datetime
    install_by: datetime
    devices: str
    software: dict[str, str]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a ticket whose signature was verified. Raises UpdateRefused."""
        try:
            document = parse_canonical(data, "the ticket")
            if document["product"] != PRODUCT:
                raise UpdateRefused(
                    Refusal.WRONG_PRODUCT,
                    f"the bundle is for the product {str(document['product'])[:60]!r}, expected {PRODUCT!r}",
                    hint="take the stick of this product",
                    facts={"found": str(document["product"])[:60], "expected": PRODUCT},
                )
            devices = document["devices"]
            named = [*devices["serials"], *(f"the group {group}" for group in devices["groups"])]
            return cls(
                ticket=document["id"],
                issued=parse_moment(document["issued"]),
                install_by=parse_moment(document["install_by"]),
                devices=", ".join(named) or "every box of this owner",
                software={item["path"]: item["sha256"] for item in document["items"] if item["kind"] == "software"},
            )
        except (KeyError, TypeError, ValueError, InvalidInput) as error:
            raise UpdateRefused(
                Refusal.PRECONDITION,
                f"the ticket cannot be understood: {type(error).__name__}: {error}",
                hint="take an installer of this release: scripts/build-installer OUT",
            ) from error


def release_for(offered: Iterable[tuple[str, bytes]], python: str, machine: str, variant: str = "") -> SoftwareItem:
    """Choose the release for this Python and processor among signed manifests by target. Raises UpdateRefused.

    variant: "cpu" or "gpu"; '' is whichever the bundle brings, if it brings one.
    """
    items = [_parsed(path, data) for path, data in offered]
    fitting = [item for item in items if (item.software.python, item.software.machine) == (python, machine)]
    fitting = [item for item in fitting if item.software.variant == (variant or item.software.variant)]
    if len(fitting) == 1:
        return fitting[0]
    if len({item.software.variant for item in fitting}) > 1:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"the bundle brings software for boxes with a GPU and without for Python {python} on {machine}",
            hint="say which this box shall take: --variant cpu, or --variant gpu",
            facts={"python": python, "machine": machine, "found": [item.target for item in fitting]},
        )
    brought = ", ".join(item.target for item in items) or "models or settings only"
    raise UpdateRefused(
        Refusal.PRECONDITION,
        f"the bundle brings {len(fitting)} releases of the software for Python {python} on {machine}"
        f"{variant and f', {variant}'}, expected one; it brings: {brought}",
        hint="at the station, with a tree that was built for such a box: appliance publish software add TREE; "
        "appliance publish cut --item software/...",
        facts={"python": python, "machine": machine, "found": [item.target for item in items]},
    )


def _parsed(path: str, data: bytes) -> SoftwareItem:
    try:
        item = SoftwareItem.parse(data)
    except InvalidInput as error:
        raise UpdateRefused(Refusal.PRECONDITION, f"{path}: {error.message}", hint=_NEW_BUNDLE) from error
    if item.target != path:
        raise UpdateRefused(Refusal.PRECONDITION, f"{path} holds the manifest of {item.target}", hint=_NEW_BUNDLE)
    return item
