"""From a medium to a plan: verified, judged, and nothing changed. `inspect` and `apply` share every line of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.errors import InvalidInput
from appliance.updates import acceptance
from appliance.updates.acceptance import Moment
from appliance.updates.box import Box
from appliance.updates.medium import Medium
from appliance.updates.outcome import ACCEPTABLE, OutcomeModel, UpdateOutcome
from appliance.updates.plan import Plan, make_plan
from appliance.updates.site_settings import require_valid_settings

if TYPE_CHECKING:
    from appliance.updates.verifier import VerifiedBundle

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # at this time nothing has expired: signatures and versions alone count


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    """What a person asks for. `place`: mount point or directory; `bundle`: which, where there are several."""

    place: Path
    bundle: str = ""
    allow_expired: bool = False
    retry: bool = False
    no_receipt: bool = False  # write nothing to the place


@dataclass(frozen=True, slots=True)
class Prepared:
    """A bundle that this box would take. `late`: its time is over, and an operator takes it all the same."""

    bundle: "VerifiedBundle"
    plan: Plan
    late: bool
    serial: str  # of this box
    place: str = ""  # where a receipt may go


class Preparation:
    """Looks at one medium for one box."""

    def __init__(self, box: Box, medium: Medium, request: ApplyRequest, *, keep_roots: bool) -> None:
        """keep_roots: new roots of trust are kept even if nothing else is (a revocation must stick).

        Raises UpdateRefused if nobody has provisioned the box.
        """
        box.identity()
        self._box = box
        self._request = request
        self._keep_roots = keep_roots
        from appliance.updates.verifier import BundleVerifier  # noqa: PLC0415  (tuf's client, for updates alone)

        self._verifier = BundleVerifier(box.trust, medium)
        judged = box.clock.judge()
        self._moment = Moment(judged.now, judged.floor)

    @contextmanager
    def verified(self) -> Iterator[tuple["VerifiedBundle", bool]]:
        """Lend the bundle, verified now, and whether it was taken late. Raises UpdateRefused."""
        try:
            bundle, late = self._verifier.verify(self._moment.now, keep_roots=self._keep_roots), False
        except UpdateRefused as refused:
            if refused.reason is not Refusal.EXPIRED:
                raise
            bundle, late = self._verified_late(refused), True
        with bundle:
            yield bundle, late

    def plan(self, bundle: "VerifiedBundle", *, late: bool) -> Prepared:
        """Decide whether this box takes it, and what there is to do. Raises UpdateRefused."""
        ticket, facts = bundle.ticket, self._box.facts(bundle.ticket_digest, needs_gpu=bundle.ticket.requires.gpu)
        acceptance.require_for_this_box(ticket, facts)
        acceptance.require_in_order(ticket, facts, retry=self._request.retry)
        acceptance.require_means(ticket, facts)
        late |= acceptance.require_in_time(
            ticket,
            self._moment,
            allow_expired=self._request.allow_expired,
            allowed_days=bundle.policy.allow_expired_days,
        )
        plan = self.read_plan(bundle, facts.identity.site)
        self._require_software_in_rescue(plan)
        missing_bytes = plan.stage_bytes + plan.slot_bytes - self._box.partial_bytes(plan.missing)
        acceptance.require_room(missing_bytes, self._box.free_bytes(), ticket.requires.free_bytes)
        return Prepared(
            bundle, plan, late, facts.identity.serial, "" if self._request.no_receipt else str(self._request.place)
        )

    def _require_software_in_rescue(self, plan: Plan) -> None:
        """Without a slot that runs nobody could try models: software comes first. Raises UpdateRefused."""
        if self._box.slots.rescuing and plan.software is None:
            raise UpdateRefused(
                Refusal.PRECONDITION,
                "both software slots of this box are bad: it takes software before anything else",
                hint="apply a stick with software: appliance update apply MEDIUM; see why: appliance status",
                facts={"slots": "bad"},
            )

    def read_plan(self, bundle: "VerifiedBundle", site: str) -> Plan:
        """Read what the bundle brings, whether or not this box takes it. Raises UpdateRefused."""
        contents = [(item, bundle.read_target(item.path, item.sha256)) for item in bundle.ticket.items]
        try:
            plan = make_plan(bundle.ticket, contents, self._box.present(), site, self._box.slots.facts())
        except InvalidInput as error:
            raise UpdateRefused(
                Refusal.PRECONDITION,
                error.message,
                hint="it may need a newer appliance: ask the signing station",
                facts={"ticket": bundle.ticket.id},
            ) from error
        if plan.settings is not None:
            require_valid_settings(plan.settings.data, plan.settings.target.path)
        return plan

    def _verified_late(self, refused: UpdateRefused) -> "VerifiedBundle":
        """Accept a bundle whose metadata expired, if an operator wants it and the owner's policy lets him."""
        with self._verifier.verify(_LONG_AGO, keep_roots=False) as authentic:
            allowed_days = authentic.policy.allow_expired_days
            is_installed = self._box.has_confirmed(authentic.ticket_digest)
        if is_installed:  # expiry is judged once, at acceptance: what is here already may still heal the box
            return self._verifier.verify(_LONG_AGO, keep_roots=self._keep_roots)
        if self._request.allow_expired and allowed_days:
            reference = max(_LONG_AGO, self._moment.now - timedelta(days=allowed_days))
            try:
                return self._verifier.verify(reference, keep_roots=self._keep_roots)
            except UpdateRefused as still:
                if still.reason is not Refusal.EXPIRED:
                    raise
        raise acceptance.expired(
            refused.message,
            self._moment,
            only_the_clock=self._passes_at_the_floor(),
            allow_expired=self._request.allow_expired,
            allowed_days=allowed_days,
            facts={name: value for name, value in refused.facts.items() if isinstance(value, str)},
        ) from refused

    def _passes_at_the_floor(self) -> bool:
        try:
            self._verifier.verify(self._moment.floor, keep_roots=False).discard()
        except UpdateRefused as refused:
            if refused.reason is not Refusal.EXPIRED:
                raise
            return False
        return True


def summary(prepared: Prepared) -> UpdateOutcome:
    """Say what a bundle brings that this box would take: the answer of `inspect`."""
    plan, ticket = prepared.plan, prepared.plan.ticket
    return UpdateOutcome(
        0,
        ACCEPTABLE,
        f"ticket {ticket.id} can be installed on this box",
        hint="appliance update apply MEDIUM",
        ticket_id=ticket.id,
        ticket_seq=ticket.seq,
        ticket_digest=prepared.bundle.ticket_digest,
        notes=ticket.notes,
        models=tuple(
            OutcomeModel(
                name=model.item.name,
                version=model.item.version,
                size_bytes=model.item.size_bytes,
                stage_bytes=sum(file.size_bytes for file in model.missing.values()),
                digest=model.item.manifest,
            )
            for model in plan.models
        ),
        settings=plan.settings.target.path if plan.settings else "",
        software=plan.software.item.version if plan.software is not None else "",
        skipped=plan.skipped,
        for_this_device=prepared.serial in ticket.devices.serials,
    )


def inspect(box: Box, request: ApplyRequest) -> UpdateOutcome:
    """Judge a medium as `apply` would, and change nothing; a refusal is an outcome."""
    try:
        with Medium.open(request.place, request.bundle) as medium:
            preparation = Preparation(box, medium, request, keep_roots=False)
            with preparation.verified() as (bundle, late):
                return summary(preparation.plan(bundle, late=late))
    except UpdateRefused as refused:
        return UpdateOutcome.of_refusal(refused)
