"""Whether this box takes this ticket now. Pure: facts come in, a refusal with found and expected comes out.

The order is the order in which a technician can do something about it: wrong box, wrong order, missing means, time.
"""

from dataclasses import dataclass
from datetime import datetime

from appliance.bundle.device import DeviceIdentity
from appliance.bundle.layout import PRODUCT
from appliance.bundle.moments import moment_text
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.bundle.ticket import Ticket
from appliance.errors import InvalidInput

SPARE_FRACTION = 0.1  # of what is needed: file systems take their share


@dataclass(frozen=True, slots=True)
class KnownTicket:
    """What became of a ticket on this box. `state`: TRIAL, CONFIRMED, ROLLED_BACK or FAILED."""

    seq: int
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """What is asked of the box. `known`: this very ticket, if it was here before. `newest_seq`: ever accepted."""

    identity: DeviceIdentity
    software: str
    has_gpu: bool
    newest_seq: int
    confirmed_seq: int
    known: KnownTicket | None


@dataclass(frozen=True, slots=True)
class Moment:
    """What time it is: `now` is the later of the box's clock and the floor, below which it cannot be."""

    now: datetime
    floor: datetime


def require_for_this_box(ticket: Ticket, box: BoxFacts) -> None:
    """Check product, device and hardware. Raises UpdateRefused."""
    if ticket.product != PRODUCT:
        raise UpdateRefused(
            Refusal.WRONG_PRODUCT,
            f"the bundle is for the product '{ticket.product}', this is '{PRODUCT}'",
            hint="use the stick on the machine that it was made for",
            facts={"found": ticket.product, "expected": PRODUCT},
        )
    identity, devices = box.identity, ticket.devices
    if not (devices.all or identity.serial in devices.serials or identity.memberships & set(devices.groups)):
        wanted = ", ".join([*devices.serials, *(f"group {group}" for group in devices.groups)])
        raise UpdateRefused(
            Refusal.WRONG_DEVICE,
            f"the bundle is for {wanted}; this box is {identity.serial} at {identity.site}",
            hint="use the stick on a box that it names, or ask the signing station for one for this box",
            facts={"this": identity.serial, "for": [*devices.serials, *devices.groups]},
        )
    if ticket.hardware and identity.hardware not in ticket.hardware:
        raise UpdateRefused(
            Refusal.WRONG_DEVICE,
            f"the bundle is for the hardware {', '.join(ticket.hardware)}; this box is {identity.hardware}",
            hint="ask the signing station for a bundle for this hardware",
            facts={"this": identity.hardware, "for": list(ticket.hardware)},
        )


def require_in_order(ticket: Ticket, box: BoxFacts, *, retry: bool) -> None:
    """Check what was installed before. `retry`: a ticket that failed may be tried again. Raises UpdateRefused."""
    if box.known is not None and box.known.state == "CONFIRMED" and ticket.seq >= box.newest_seq:
        raise UpdateRefused(
            Refusal.NOTHING_TO_DO,
            f"ticket {ticket.id} ({ticket.seq}) is installed already",
            hint="see what serves: appliance status",
            facts={"ticket": ticket.id, "seq": ticket.seq},
        )
    if ticket.seq < box.newest_seq or (ticket.seq == box.newest_seq and box.known is None):
        raise UpdateRefused(
            Refusal.ROLLBACK,
            f"the bundle is older than what this box has: ticket {ticket.seq}, it has accepted {box.newest_seq}",
            hint="use the newest stick; to go back to the models before: appliance update rollback",
            facts={"have": box.newest_seq, "offered": ticket.seq},
        )
    if box.known is not None and box.known.state in ("ROLLED_BACK", "FAILED") and not retry:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"ticket {ticket.id} was here before and did not stay: {box.known.reason}",
            hint="to try it once more: appliance update retry MEDIUM",
            facts={"ticket": ticket.id, "reason": box.known.reason},
        )
    if ticket.allow_from > box.confirmed_seq:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"the bundle builds on ticket {ticket.allow_from}, this box has {box.confirmed_seq or 'none'} installed",
            hint=f"install ticket {ticket.allow_from} first",
            facts={"have": box.confirmed_seq, "needed": ticket.allow_from},
        )


def require_means(ticket: Ticket, box: BoxFacts) -> None:
    """Check software and GPU. Raises UpdateRefused."""
    needed = ticket.requires
    if needed.software and _version(box.software) < _version(needed.software):
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"the bundle needs appliance {needed.software} or newer, this box has {box.software}",
            hint="update the software of this box first",
            facts={"have": box.software, "needed": needed.software},
        )
    if needed.gpu and not box.has_gpu:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            "the bundle needs a GPU, this box has none that works",
            hint="see what this box can run, and what to do: appliance backends probe",
            facts={"have": "no GPU", "needed": "GPU"},
        )


def require_in_time(ticket: Ticket, moment: Moment, *, allow_expired: bool, allowed_days: int) -> bool:
    """Judge the ticket's last day; True if it has passed and an operator takes it all the same.

    Raises UpdateRefused: EXPIRED, or CLOCK_OR_EXPIRED where only the box's clock says so.
    """
    last = ticket.install_by_at
    if moment.now <= last:
        return False
    late_days = (moment.now - last).total_seconds() / 86400
    if allow_expired and late_days <= allowed_days:
        return True
    raise expired(
        f"ticket {ticket.id} was to be installed by {ticket.install_by}",
        moment,
        only_the_clock=moment.floor <= last,
        allow_expired=allow_expired,
        allowed_days=allowed_days,
        facts={"install_by": ticket.install_by},
    )


def expired(
    what: str,
    moment: Moment,
    *,
    only_the_clock: bool,
    allow_expired: bool,
    allowed_days: int,
    facts: dict[str, str],
) -> UpdateRefused:
    """Make the refusal of something whose time is over, with both times."""
    times = f"this box's clock says {moment_text(moment.now)}"
    if only_the_clock:
        times += f", and it is certainly not before {moment_text(moment.floor)}"
    elif moment.floor == moment.now:
        times = f"it is certainly not before {moment_text(moment.floor)}"
    remedy = "ask the signing station for a new bundle"
    if only_the_clock:
        remedy = f"if the clock is wrong, set it; else {remedy}"
    if allowed_days and not allow_expired:
        remedy += f"; the owner's policy lets an operator at the console accept it {allowed_days} days late"
        remedy += " with --allow-expired"
    return UpdateRefused(
        Refusal.CLOCK_OR_EXPIRED if only_the_clock else Refusal.EXPIRED,
        f"{what}; {times}",
        hint=remedy,
        facts=facts | {"clock": moment_text(moment.now), "floor": moment_text(moment.floor)},
    )


def require_room(needed_bytes: int, free_bytes: int, also_free_bytes: int) -> None:
    """Check the disk: what is staged, a tenth more, and what the ticket wants left. Raises UpdateRefused."""
    total = int(needed_bytes * (1 + SPARE_FRACTION)) + also_free_bytes
    if free_bytes < total:
        raise UpdateRefused(
            Refusal.NO_SPACE,
            f"not enough room: {total} bytes needed, {free_bytes} free",
            hint="make room: appliance models remove NAME VERSION, then appliance models gc",
            facts={"need": total, "have": free_bytes},
        )


def _version(text: str) -> tuple[int, ...]:
    numbers = text.split("+", maxsplit=1)[0].split("-", maxsplit=1)[0].split(".")
    if not all(number.isdigit() for number in numbers):
        raise InvalidInput(f"'{text}' is not a version number")
    return tuple(map(int, numbers))
