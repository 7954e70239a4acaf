"""Receipts on the medium: what became of a ticket, for the signing station and for whoever asks later.

The medium may be hostile and is mostly FAT: names are looked up without following links, nothing relies on links,
permissions or overwriting. A medium that cannot be written to is no error.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from appliance.bundle.layout import RECEIPTS_DIRECTORY
from appliance.bundle.moments import moment_text
from appliance.bundle.receipt import Receipt, ServedVersion, SignedReceipt
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.durable import fsync_names
from appliance.state_layout import SYSTEM_MEDIA_DIRECTORY
from appliance.updates.audit_entry import AuditHead
from appliance.updates.device_store import DeviceStore
from appliance.updates.outcome import UpdateOutcome

MOST_RECEIPTS = 9999  # of one box and ticket on one medium
_LONGEST_MESSAGE = 4000
_LONGEST_CLOCK = 256
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class WrittenReceipt:
    """Where it lies, relative to the medium. '' if it was not written: `problem` says why, '' on a read-only one."""

    path: str
    problem: str = ""


def sign_receipt(
    device: DeviceStore,
    outcome: UpdateOutcome,
    *,
    serving: Sequence[ServedVersion],
    time: datetime,
    software: str,
    audit: AuditHead,
) -> SignedReceipt:
    """Say, with the box's signature, how an update ended. Raises UpdateRefused (STATE_DAMAGED) without identity."""
    identity = device.identity()
    if identity is None:
        raise UpdateRefused(
            Refusal.STATE_DAMAGED,
            "this box was never provisioned, so that it has no key to sign a receipt with",
            hint="give it its owner and name: appliance provision --help",
        )
    receipt = Receipt(
        serial=identity.serial,
        hardware=identity.hardware,
        site=identity.site,
        ticket_id=outcome.ticket_id,
        ticket_seq=outcome.ticket_seq,
        ticket_digest=outcome.ticket_digest,
        code=outcome.code,
        result=outcome.result,
        message=_plain(outcome.message, _LONGEST_MESSAGE),
        serving=tuple(serving),
        time=moment_text(time),
        clock=_plain(outcome.clock, _LONGEST_CLOCK),
        software=software,
        audit_seq=audit.seq,
        audit_digest=audit.digest,
    )
    return SignedReceipt.sign(receipt, identity.receipt_key, device.sign)


def write_receipt(place: Path, signed: SignedReceipt) -> WrittenReceipt:
    """Write a receipt below `place`, durably, under the next free name. Never raises for what the medium does."""
    receipt = signed.receipt
    stem = f"{receipt.serial}-{receipt.ticket_id or 'no-ticket'}"
    try:
        with _receipts_directory(place) as directory:
            name = _write(directory, stem, signed.to_bytes())
    except OSError as error:
        return WrittenReceipt("", "" if error.errno in _READ_ONLY else _said(error))
    return WrittenReceipt(f"{RECEIPTS_DIRECTORY}/{name}")


@contextmanager
def _receipts_directory(place: Path) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    medium = os.open(place, flags)
    try:
        _require_mounted(medium, place)
        with suppress(FileExistsError):
            os.mkdir(RECEIPTS_DIRECTORY, dir_fd=medium)
            fsync_names(medium)
        directory = os.open(RECEIPTS_DIRECTORY, flags, dir_fd=medium)
    finally:
        os.close(medium)
    try:
        yield directory
    finally:
        os.close(directory)


def _require_mounted(medium: int, place: Path) -> None:
    """Refuse the empty directory that a stick leaves where this box had mounted it: its receipts would be lost."""
    if place.parent == SYSTEM_MEDIA_DIRECTORY and os.fstat(medium).st_dev == place.parent.stat().st_dev:
        raise OSError(errno.ENODEV, "the stick was pulled out", str(place))


def _write(directory: int, stem: str, data: bytes) -> str:
    partial = f"{stem}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(partial, dir_fd=directory)
    try:
        _write_new(directory, partial, data)
        name = _free_name(directory, stem)
        os.rename(partial, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.unlink(partial, dir_fd=directory)
        raise
    fsync_names(directory)
    return name


def _write_new(directory: int, name: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o644, dir_fd=directory)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_name(directory: int, stem: str) -> str:
    for number in range(1, MOST_RECEIPTS + 1):
        name = f"{stem}-{number}.json"
        try:
            os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return name
    raise FileExistsError(
        errno.EEXIST, f"there are {MOST_RECEIPTS} receipts of this ticket already", RECEIPTS_DIRECTORY
    )


def _said(error: OSError) -> str:
    return f"the receipt could not be written to the medium: {error.strerror}"


def _plain(text: str, longest: int) -> str:
    return text.encode(errors="backslashreplace").decode()[:longest]
