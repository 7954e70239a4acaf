"""Root's part of a software update: lays a release into its slot when the owner's signatures say that it may.

Whoever gives the order is trusted in nothing: it could be a service that somebody has taken over. What it names is
verified again, against the root of trust that root got when the box was provisioned (`anchor`), by code that only
root can have written. Expiry is not judged here: the service does, and a clock on a box proves nothing. An older
release than the last one that came this way is refused.

One order on standard input, as a line of JSON; lines of JSON on standard output (order_lines.py). One order at a
time: the socket takes one connection.
"""

import contextlib
import json
import os
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.bundle.software_item import SoftwareItem
from appliance.durable import disk_errors
from appliance.errors import AlreadyExists, Failed, InvalidInput
from appliance.slots.filling import lay_archive
from appliance.slots.record import SlotName
from appliance.slots.store import SlotStore
from appliance.state_layout import SYSTEM_STATE_DIRECTORY, StateLayout
from appliance.updates.medium import Medium
from appliance.updates.order_lines import Say, answer
from appliance.updates.slot_filler import archive_of, counter, expected_of, require_as_signed
from appliance.updates.trust_store import TrustStore
from appliance.updates.verifier import BundleVerifier, VerifiedBundle

_LARGEST_ORDER_BYTES = 65_536
_BEFORE_ANY_EXPIRY = datetime(1970, 1, 1, tzinfo=UTC)


def main() -> None:
    """Carry out one order for this box."""
    answer(lambda: adopt(_order(), StateLayout(SYSTEM_STATE_DIRECTORY), _say), _say)


def adopt(order: dict[str, Any], layout: StateLayout, say: Say) -> None:
    """Lay the tree that an order names into its slot. Raises UpdateRefused, InvalidInput, Failed."""
    name, tree = SlotName(order["slot"]), str(order["tree"])
    trust = TrustStore(layout.anchor)
    with disk_errors("laying software into its slot"):
        _require_owner(trust)
        trust.recover()
        with (
            Medium.open(Path(order["place"]), order["bundle"]) as medium,
            BundleVerifier(trust, medium).verify(_BEFORE_ANY_EXPIRY) as bundle,
        ):
            _lay(layout, name, _signed_release(bundle, tree), say)
            bundle.commit()


def know_owner(layout: StateLayout, root: bytes) -> None:
    """Remember on an installed box, where only root can, whose signatures decide about software.

    Nothing for anybody but root, where another state is worked on, or if somebody's do already.
    """
    if _decides_here(layout) and not TrustStore(layout.anchor).is_provisioned:
        TrustStore(layout.anchor).provision(root)
        layout.anchor.chmod(0o755)  # whatever root's umask is: doctor looks there for anybody


def require_same_owner(layout: StateLayout, root: bytes) -> None:
    """Refuse a new owner where another one's signatures decide about software. Raises AlreadyExists."""
    trust = TrustStore(layout.anchor)
    if _decides_here(layout) and trust.is_provisioned and trust.bootstrap() != root:
        raise AlreadyExists(
            f"the software of this box is another owner's: {layout.anchor} trusts another root",
            hint=f"if the box has a new owner: rm -r {layout.anchor}",
        )


def _decides_here(layout: StateLayout) -> bool:
    return layout.is_installed and os.geteuid() == 0


def _order() -> dict[str, Any]:
    line = sys.stdin.buffer.readline(_LARGEST_ORDER_BYTES)
    try:
        order: dict[str, Any] = json.loads(line)
        SlotName(order["slot"]), str(order["tree"]), str(order["place"]), str(order["bundle"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"this is no order: {type(error).__name__}: {error}") from error
    return order


def _require_owner(trust: TrustStore) -> None:
    if not trust.is_provisioned:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            "the installation on this box knows no owner, whose signatures could decide about its software",
            hint="as root, with the values of before: appliance provision --root root.json ...; then apply it again",
        )


def _signed_release(bundle: VerifiedBundle, tree: str) -> SoftwareItem:
    for target in bundle.ticket.items:
        if target.kind == "software":
            item = SoftwareItem.parse(bundle.read_target(target.path, target.sha256))
            if item.tree == tree:
                return item
    raise UpdateRefused(
        Refusal.BAD_SIGNATURE,
        f"the bundle brings no release with the tree {tree[:16]}",
        hint="apply the bundle again",
        facts={"tree": tree},
    )


def _lay(layout: StateLayout, name: SlotName, item: SoftwareItem, say: Say) -> None:
    try:
        with _opened(archive_of(layout, item)) as archive:
            store = SlotStore(layout.slots, layout.software)
            slot = lay_archive(store, name, archive, expected_of(item), counter(lambda done: say({"files": done})))
    except FileNotFoundError as error:
        raise Failed(f"there is no content {item.archive.digest}", hint="apply the bundle again") from error
    require_as_signed(slot, item)


def _opened(path: Path) -> BinaryIO:
    """Open a file of the service's, which may be anything by now. Raises InvalidInput, OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidInput(f"{path} is no file")
    return os.fdopen(descriptor, "rb")


def _say(document: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # who asked has gone: the work ends as well as it would
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()
