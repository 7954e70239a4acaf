"""The end of a box in its owner's hands: keys first, then data, then a certificate that lies elsewhere.

    erasure.json   written first: from here on the box does not serve, and only going on is left
    device/        the receipt key vouches for the certificate's key and is erased before anything else; then trust/
    all the rest   of the state directory but the software, and the engines
    certificate    signed, written outside, durably
    erasure.json   erased last, with the certificate's key in it

After a power cut the same command goes on. Raises Failed and its like with what was done so far staying done.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from appliance import __version__
from appliance.bundle.device import DeviceIdentity
from appliance.bundle.device_signature import bytes_to_sign
from appliance.bundle.moments import moment_text
from appliance.bundle.signed_document import SignedDocument
from appliance.daemon.state_lock import ERASURE_RECORD
from appliance.durable import disk_errors, fsync_directory, write_file
from appliance.errors import AlreadyExists, ApplianceError, CannotWrite, InvalidInput, StateUnusable
from appliance.maintenance.backup_reading import Advance
from appliance.maintenance.erasure import Medium, discard_free_space, erase_tree
from appliance.maintenance.erasure_certificate import (
    ErasureCertificate,
    ErasureVoucher,
    SignedErasureCertificate,
    sign_certificate,
)
from appliance.maintenance.factory_reset import files_below
from appliance.maintenance.whole_state import REGISTRY_COPIES
from appliance.state_layout import StateLayout
from appliance.updates.audit_log import AuditLog
from appliance.updates.device_store import DeviceStore

_ENDED = "erasure.ended"
_STAYS = frozenset({"slots", "run", "lost+found", ERASURE_RECORD})
_KEYS = ("device/receipt.key", "device", "trust")
_LEFT = (
    "Backups, exports and receipts outside of the box.",
    "Settings and TLS keys in /etc/appliance: apt purge appliance, or uninstall.sh --state, removes them.",
    "The system's own journal, which names models and never holds payloads: journalctl --vacuum-time=1s.",
    "The software, which holds no data of the owner.",
)


class _Record(SignedDocument):
    title: ClassVar[str] = "the record of the erasure"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    identity: DeviceIdentity | Literal[""] = ""
    voucher: ErasureVoucher
    voucher_signature: str
    key: str  # private, in hex; of the certificate and nothing else
    files: int
    size_bytes: int
    audit_seq: int
    audit_digest: str


@dataclass(frozen=True, slots=True)
class WipePlan:
    """What an erasure would destroy. begun: it was cut off and would go on. serial: '' if the box has none."""

    serial: str
    begun: bool
    places: tuple[str, ...]
    files: int
    size_bytes: int


def plan_wipe(layout: StateLayout) -> WipePlan:
    """Say what would be erased. Raises StateUnusable if an erasure that was begun left a damaged record."""
    record = _read_record(layout)
    with disk_errors("looking at what would be erased"):
        places = _places(layout)
        files = {path.lstat().st_ino: path.lstat().st_size for place in places for path in files_below(place)}
    if record is not None:
        return WipePlan(record.voucher.serial, True, tuple(map(str, places)), record.files, record.size_bytes)
    identity = _identity(layout)
    serial = identity.serial if identity else ""
    return WipePlan(serial, False, tuple(map(str, places)), len(files), sum(files.values()))


def wipe(
    layout: StateLayout,
    certificate: Path,
    now: Callable[[], datetime],
    advance: Advance,
    discard: Callable[[Path], str] = discard_free_space,
) -> SignedErasureCertificate:
    """Erase a box and write its certificate. The caller holds the state's lock, and nothing else uses the state.

    Raises AlreadyExists, InvalidInput (the certificate would lie in what is erased), CannotWrite: nothing was done
    then, or what was begun waits to be finished.
    """
    _require_place(layout, certificate)
    record = _begun(layout, now)
    with disk_errors("erasing"):
        _erase(layout, record, advance)
        discarded = discard(layout.root)
    signed = _certify(layout, record, discarded, now)
    _write_certificate(certificate, signed)
    _end(layout)
    return signed


def _end(layout: StateLayout) -> None:
    """Free the directory for another box, then erase the last key: a record that is half erased would bar it."""
    record, ended = layout.root / ERASURE_RECORD, layout.root / _ENDED
    with disk_errors("erasing the last key"):
        os.replace(record, ended)  # noqa: PTH105  (counted by tests of crashes)
        fsync_directory(layout.root)
        erase_tree(ended, lambda _: None)


def _begun(layout: StateLayout, now: Callable[[], datetime]) -> _Record:
    """Write down that the box is being erased, with all that is known only as long as it is not."""
    record = _read_record(layout)
    if record is not None:
        return record
    plan, identity = plan_wipe(layout), _identity(layout)
    key = Ed25519PrivateKey.generate()
    voucher = ErasureVoucher(
        serial=plan.serial, began=moment_text(now()), key=key.public_key().public_bytes_raw().hex()
    )
    audit_seq, audit_digest = _audit_head(layout, now)
    record = _Record(
        identity=identity or "",
        voucher=voucher,
        voucher_signature=_vouched(layout, voucher) if identity else "",
        key=key.private_bytes_raw().hex(),
        files=plan.files,
        size_bytes=plan.size_bytes,
        audit_seq=audit_seq,
        audit_digest=audit_digest,
    )
    _write_record(layout, record)
    return record


def _erase(layout: StateLayout, record: _Record, advance: Advance) -> None:
    done = 0

    def erased(size_bytes: int) -> None:
        nonlocal done
        done += size_bytes
        advance("erasing", done, max(record.size_bytes, done))

    advance("erasing keys", 0, record.size_bytes)
    for name in _KEYS:
        erase_tree(layout.root / name, erased)
    for place in _places(layout):
        erase_tree(place, erased)


def _places(layout: StateLayout) -> list[Path]:
    """What is erased, views before the content that they share."""
    names = [path for path in layout.root.iterdir() if path.name not in _STAYS] if layout.root.is_dir() else []
    engines = [layout.engines] if layout.engines.is_dir() and layout.root not in layout.engines.parents else []
    anchor = [layout.anchor] if layout.anchor.is_dir() else []
    return [*sorted(names), *sorted(layout.slots.glob(REGISTRY_COPIES)), *engines, *anchor]


def _certify(
    layout: StateLayout, record: _Record, discarded: str, now: Callable[[], datetime]
) -> SignedErasureCertificate:
    left = _places(layout)
    if left:
        raise StateUnusable(f"{left[0]} came while the box was erased", hint="stop what writes there, and go on")
    identity = record.identity or None
    certificate = ErasureCertificate(
        serial=record.voucher.serial,
        hardware=identity.hardware if identity else "",
        site=identity.site if identity else "",
        software=__version__,
        began=record.voucher.began,
        ended=moment_text(now()),
        files=record.files,
        size_bytes=record.size_bytes,
        did=(
            "The box's key was erased first, then what it trusted, then models, registry, settings, log and engines.",
            "Every file was overwritten once with random bytes, written through to the medium, and deleted.",
            discarded,
        ),
        reach=Medium.of(layout.root).reach,
        left=_LEFT,
        audit_seq=record.audit_seq,
        audit_digest=record.audit_digest,
    )
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(record.key))
    return sign_certificate(certificate, record.voucher, record.voucher_signature, key)


def _write_certificate(path: Path, signed: SignedErasureCertificate) -> None:
    try:
        with disk_errors(f"writing {path}"):
            write_file(path, signed.to_bytes(), mode=None)
    except ApplianceError as error:
        raise CannotWrite(
            f"the box is erased, its certificate is not written: {error.message}",
            hint="bring another medium, then: appliance wipe --certificate FILE",
        ) from error


def _require_place(layout: StateLayout, certificate: Path) -> None:
    if certificate.resolve().is_relative_to(layout.root.resolve()):
        raise InvalidInput(f"{certificate} lies in what is erased", hint="name a file on another disk")
    if os.path.lexists(certificate):
        raise AlreadyExists(f"{certificate} is there already", hint="name a file that is not there")
    if not certificate.parent.is_dir() or not os.access(certificate.parent, os.W_OK):
        raise CannotWrite(f"nothing can be written to {certificate.parent}", hint="mount the medium first")


def _read_record(layout: StateLayout) -> _Record | None:
    try:
        return _Record.parse((layout.root / ERASURE_RECORD).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, InvalidInput) as error:
        raise StateUnusable(
            f"{layout.root / ERASURE_RECORD} cannot be read: {error}",
            hint="no certificate can come of this erasure: remove the file, and erase what is left anew",
        ) from error


def _write_record(layout: StateLayout, record: _Record) -> None:
    path = layout.root / ERASURE_RECORD
    with disk_errors("beginning an erasure"):
        write_file(path, record.to_bytes(), mode=0o600)


def _identity(layout: StateLayout) -> DeviceIdentity | None:
    try:
        return DeviceStore(layout.device).identity()
    except ApplianceError:  # a box that is damaged can be erased like any other
        return None


def _vouched(layout: StateLayout, voucher: ErasureVoucher) -> str:
    try:
        return DeviceStore(layout.device).sign(bytes_to_sign(voucher))
    except ApplianceError:  # as above; the certificate says that it is not signed
        return ""


def _audit_head(layout: StateLayout, now: Callable[[], datetime]) -> tuple[int, str]:
    try:
        head = AuditLog(layout.audit, now).head()
    except ApplianceError:  # as above
        return 0, ""
    return head.seq, head.digest
