"""Everything on a box that an update reads or changes, opened once and handed to whoever works on updates."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from appliance import RELEASED, __version__
from appliance.bundle.device import DeviceIdentity
from appliance.bundle.moments import moment_text
from appliance.bundle.oci_layers import ItemFile
from appliance.bundle.receipt import ServedVersion
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.errors import ApplianceError
from appliance.model.identity import Digest, digest_hex
from appliance.registry.aliases import SERVING
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.seal import is_sealed
from appliance.registry.ticket_records import TicketRecord, TicketState
from appliance.settings import ModelSettings, Settings
from appliance.state_layout import StateLayout
from appliance.updates.acceptance import BoxFacts, KnownTicket
from appliance.updates.audit_entry import AuditFact
from appliance.updates.audit_log import AuditLog
from appliance.updates.content_bringer import ContentBringer, bring_here
from appliance.updates.device_store import DeviceStore
from appliance.updates.journal import Journal
from appliance.updates.kept_receipts import KeptReceipts
from appliance.updates.outcome import UpdateOutcome
from appliance.updates.receipts import sign_receipt, write_receipt
from appliance.updates.site_settings import SiteSettings
from appliance.updates.slot_filler import SlotFiller, filler_of
from appliance.updates.software_slots import SoftwareSlots
from appliance.updates.trust_store import TrustedRoot, TrustStore
from appliance.updates.update_clock import UpdateClock


def utc_now() -> datetime:
    """Ask the machine's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """Who a box is, whom it trusts, and the last ticket that stayed. `problem`: why it can trust nobody."""

    identity: DeviceIdentity
    root: TrustedRoot | None
    ticket: TicketRecord | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """One box. `has_gpu` may take seconds: it is asked only when a ticket needs to know."""

    layout: StateLayout
    registry: ModelRegistry
    trust: TrustStore
    device: DeviceStore
    audit: AuditLog
    clock: UpdateClock
    journal: Journal
    site: SiteSettings
    models: ModelSettings
    has_gpu: Callable[[], bool]
    now: Callable[[], datetime]
    bring: ContentBringer
    slots: SoftwareSlots
    fill: SlotFiller
    conditions: Callable[[], Mapping[str, AuditFact]]

    @classmethod
    def of(
        cls,
        settings: Settings,
        registry: ModelRegistry,
        *,
        has_gpu: Callable[[], bool],
        now: Callable[[], datetime] = utc_now,
        bring: ContentBringer = bring_here,
        slots: SoftwareSlots | None = None,
        conditions: Callable[[], Mapping[str, AuditFact]] = dict,
    ) -> "Box":
        """Open the parts of a state directory.

        bring: how content comes off a medium. slots: those of this process, where that is not to be found out here.
        conditions: of the machine, to be written down with an activation.
        """
        layout = settings.layout
        return cls(
            layout=layout,
            registry=registry,
            trust=TrustStore(layout.trust),
            device=DeviceStore(layout.device),
            audit=AuditLog(layout.audit, now),
            clock=UpdateClock(layout.updates / "clock.json", now, RELEASED),
            journal=Journal(layout.updates),
            site=SiteSettings(layout.updates),
            models=settings.models,
            has_gpu=has_gpu,
            now=now,
            bring=bring,
            slots=slots or SoftwareSlots.of(layout),
            fill=filler_of(settings.layout),
            conditions=conditions,
        )

    def identity(self) -> DeviceIdentity:
        """Say who this box is. Raises UpdateRefused if nobody has provisioned it."""
        identity = self.device.identity()
        if identity is None and is_sealed(self.layout):
            raise UpdateRefused(
                Refusal.STATE_DAMAGED,
                f"this box trusts an owner, but its provisioning file {self.layout.identity} is gone",
                hint="with the daemon stopped, provision it again with the same values: appliance provision --help",
            )
        if identity is None:
            raise UpdateRefused(
                Refusal.PRECONDITION,
                "this box was never provisioned, so it trusts nobody's bundles",
                hint="appliance provision --root root.json --serial SERIAL --hardware NAME --site SITE",
            )
        return identity

    def device_facts(self) -> DeviceFacts | None:
        """Say who this box is and whom it trusts; None if nobody has provisioned it. Raises UpdateRefused."""
        if self.device.identity() is None and not is_sealed(self.layout):
            return None
        identity = self.identity()
        confirmed = (record for record in self.tickets() if record.state is TicketState.CONFIRMED)
        ticket = next(confirmed, None)
        try:
            return DeviceFacts(identity, self.trust.root(), ticket)
        except UpdateRefused as damaged:
            return DeviceFacts(identity, None, ticket, str(damaged))

    def facts(self, ticket_digest: Digest, *, needs_gpu: bool) -> BoxFacts:
        """Collect what a ticket is judged by."""
        tickets = self.tickets()
        known = next((record for record in tickets if record.digest == ticket_digest), None)
        accepted = [record.seq for record in tickets if record.state is not TicketState.FAILED]
        confirmed = [record.seq for record in tickets if record.state is TicketState.CONFIRMED]
        return BoxFacts(
            identity=self.identity(),
            software=__version__,
            has_gpu=needs_gpu and self.has_gpu(),
            newest_seq=max(accepted, default=0),
            confirmed_seq=max(confirmed, default=0),
            known=None if known is None else KnownTicket(known.seq, known.state.value, known.reason),
        )

    def present(self) -> set[Digest]:
        """Content that need not be brought (staging hashes it again before it is used)."""
        return set(self.registry.blobs.digests()) if self.layout.blobs.is_dir() else set()

    def tickets(self) -> list[TicketRecord]:
        """Every ticket that this box has judged, the newest first."""
        return self.registry.tickets() if self.layout.database.exists() else []

    def serving(self) -> list[ServedVersion]:
        """What shall serve when a request names no version."""
        models = self.registry.models() if self.layout.database.exists() else []
        return [
            ServedVersion(name=model.name, version=version, digest=model.versions[version].digest)
            for model in models
            if (version := model.aliases.get(SERVING)) is not None
        ]

    def with_receipt(self, outcome: UpdateOutcome, place: Path | None) -> UpdateOutcome:
        """Write how an update ended on its medium, if that takes it. What prevents it is told, no more."""
        judged = self.clock.judge()
        clock = "trusted" if not judged.suspect else f"suspect: certainly not before {moment_text(judged.floor)}"
        outcome = replace(outcome, clock=clock)
        try:
            head = self.audit.recover()
            outcome = replace(outcome, audit_head=head.short)
            signed = sign_receipt(
                self.device, outcome, serving=self.serving(), time=self.now(), software=__version__, audit=head
            )
        except ApplianceError as error:  # a damaged log or key; the update is what it is
            return replace(outcome, receipt_problem=error.message)
        if place is None:
            return outcome
        written = write_receipt(place, signed)
        if not written.path:
            try:
                KeptReceipts(self.layout.receipts).keep(signed)
            except ApplianceError as error:
                return replace(outcome, receipt_problem=written.problem or error.message)
        return replace(outcome, receipt=written.path, receipt_problem=written.problem)

    def has_confirmed(self, ticket_digest: Digest) -> bool:
        """Whether this very ticket is installed, and stayed."""
        return any(each.digest == ticket_digest and each.state is TicketState.CONFIRMED for each in self.tickets())

    def partial_bytes(self, files: Mapping[Digest, ItemFile]) -> int:
        """How much of these files lies here already, from an attempt that was cut off."""
        paths = ((self.layout.partial_blobs / digest_hex(digest), file) for digest, file in files.items())
        return sum(min(path.stat().st_size, file.size_bytes) for path, file in paths if path.is_file())

    def free_bytes(self) -> int:
        """Room on the disk of the state directory."""
        return shutil.disk_usage(self.layout.root).free
