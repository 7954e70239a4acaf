"""An audit log taken along: one file with all its lines, and a checkpoint of its end signed by the box."""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from appliance.bundle.audit_checkpoint import AuditCheckpoint, SignedCheckpoint
from appliance.bundle.moments import moment_text
from appliance.durable import disk_errors, fsync_directory, make_directory
from appliance.errors import Failed, InvalidInput, NotFound
from appliance.updates.audit_chain import AuditLine, chain_findings
from appliance.updates.audit_entry import AuditHead
from appliance.updates.audit_files import OpenSegment
from appliance.updates.device_store import DeviceStore

_CHECKPOINT_SUFFIX = ".checkpoint.json"


@dataclass(frozen=True, slots=True)
class ExportedLog:
    """The two files, side by side, and the entry with which the log ends."""

    log: Path
    checkpoint: Path
    head: AuditHead


def write_export(
    to: Path, lines: Iterable[AuditLine], head: AuditHead, device: DeviceStore, time: datetime
) -> ExportedLog:
    """Write both files into a directory, durably; the same log has the same names again.

    Raises Failed if the directory does not take them, NotFound if this box was never provisioned.
    """
    identity = device.identity()
    if identity is None:
        raise NotFound(
            "this box was never provisioned, so that it has no key to sign its audit log with",
            hint="read the log without a signature: appliance audit show --json",
        )
    log = to / f"audit-{identity.serial}-{head.seq}.jsonl"
    with _medium_errors(to):
        make_directory(to)
        digest = _write(log, (line.data + b"\n" for line in lines))
        checkpoint = AuditCheckpoint(
            serial=identity.serial, seq=head.seq, digest=head.digest, file_sha256=digest, time=moment_text(time)
        )
        signed = SignedCheckpoint.sign(checkpoint, identity.receipt_key, device.sign)
        beside = log.with_suffix(_CHECKPOINT_SUFFIX)
        _write(beside, [signed.to_bytes()])
        fsync_directory(to)
    return ExportedLog(log, beside, head)


def verify_export(log: Path, public_key: str, witnesses: Collection[str] = ()) -> list[str]:
    """Check an exported log against its checkpoint and the box's key (hex). Returns findings. Raises InvalidInput."""
    beside = log.with_suffix(_CHECKPOINT_SUFFIX)
    for path in (log, beside):
        if not path.is_file():
            raise InvalidInput(
                f"{path} does not exist", hint="name the .jsonl file of an export; both files belong to it"
            )
    with disk_errors("reading the exported audit log"), log.open("rb") as stream:
        checkpoint = SignedCheckpoint.parse(beside.read_bytes()).verify(public_key)
        head = AuditHead(seq=checkpoint.seq, digest=checkpoint.digest)
        findings = chain_findings(OpenSegment(log.name, stream, log.stat().st_size).lines(), head, witnesses)
        stream.seek(0)
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != checkpoint.file_sha256 and not findings:
        findings.append(f"{log.name}: its SHA-256 is {found}, the checkpoint says {checkpoint.file_sha256}")
    return findings


@contextmanager
def _medium_errors(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Failed(
            f"the audit log cannot be written to {to}: {error.strerror}",
            hint="name a directory on a stick that has room and can be written to: appliance audit export DIR",
        ) from error


def _write(path: Path, pieces: Iterable[bytes]) -> str:
    """Write a file durably but for its name, without permissions (FAT has none). Returns its SHA-256 in hex."""
    partial = path.with_suffix(".tmp")
    partial.unlink(missing_ok=True)
    digest = hashlib.sha256()
    with partial.open("xb") as stream:
        for piece in pieces:
            digest.update(piece)
            stream.write(piece)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
    return digest.hexdigest()
