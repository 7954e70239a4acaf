"""An exported audit log: whole and signed, or refused in words."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.bundle.device import DeviceIdentity
from appliance.errors import Failed, InvalidInput
from appliance.updates.audit_entry import AuditEvent
from appliance.updates.audit_export import verify_export
from appliance.updates.audit_log import AuditLog
from appliance.updates.device_store import DeviceStore
from tests.support.small_disk import SMALL_DISK_BYTES

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def device(tmp_path: Path) -> DeviceStore:
    store = DeviceStore(tmp_path / "device")
    store.seal(
        DeviceIdentity(
            serial="BOX-7",
            hardware="pc",
            site="ward-3",
            sealed_at="2026-11-23T12:00:00Z",
            receipt_key=store.make_key(),
        )
    )
    return store


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    log = AuditLog(tmp_path / "audit", lambda: NOON, segment_bytes=1000)
    for number in range(10):
        log.append(AuditEvent.MODEL_ACTIVATED, {"number": number})
    return log


def test_an_export_is_whole_and_signed_by_the_box(log: AuditLog, device: DeviceStore, tmp_path: Path) -> None:
    exported = log.export(tmp_path / "stick" / "logs", device)

    assert exported.log.name == "audit-BOX-7-10.jsonl"
    assert len(exported.log.read_bytes().splitlines()) == 10
    assert verify_export(exported.log, device.make_key()) == []
    assert sorted(path.name for path in exported.log.parent.iterdir()) == [
        "audit-BOX-7-10.checkpoint.json",
        "audit-BOX-7-10.jsonl",
    ]


def test_an_export_stands_in_the_log_itself(log: AuditLog, device: DeviceStore, tmp_path: Path) -> None:
    exported = log.export(tmp_path / "stick", device)

    (entry,) = log.entries(last=1)
    assert (entry.event, entry.facts) == ("audit_exported", {"seq": 10, "digest": exported.head.digest})
    assert log.verify() == []


def test_a_second_export_on_the_same_stick_leaves_the_first(
    log: AuditLog, device: DeviceStore, tmp_path: Path
) -> None:
    first = log.export(tmp_path / "stick", device)
    second = log.export(tmp_path / "stick", device)

    for exported in (first, second):
        assert verify_export(exported.log, device.make_key()) == []


def edited(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], lines[4].replace(b'"number":4', b'"number":5'), *lines[5:]]


def last_edited(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1].replace(b'"number":9', b'"number":8')]


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (edited, "line 5: was changed"),
        (last_edited, "line 10: was changed"),
        (lambda lines: lines[:-1], "the end was cut"),
        (lambda lines: lines[1:], "begins with entry 2"),
        (lambda lines: lines[:3] + lines[4:], "line 4: is entry 5"),
        (lambda lines: [*lines, b"x"], "SHA-256"),
        (lambda _: [], "the end was cut"),
    ],
)
def test_an_export_that_was_changed_is_found_out(
    log: AuditLog,
    device: DeviceStore,
    tmp_path: Path,
    change: Callable[[list[bytes]], list[bytes]],
    finding: str,
) -> None:
    exported = log.export(tmp_path / "stick", device)
    exported.log.write_bytes(b"".join(change(exported.log.read_bytes().splitlines(keepends=True))))

    assert finding in "\n".join(verify_export(exported.log, device.make_key()))


def test_an_export_of_another_box_is_refused(log: AuditLog, device: DeviceStore, tmp_path: Path) -> None:
    exported = log.export(tmp_path / "stick", device)
    other = DeviceStore(tmp_path / "other").make_key()

    with pytest.raises(InvalidInput, match="changed, or from another box"):
        verify_export(exported.log, other)
    exported.checkpoint.unlink()
    with pytest.raises(InvalidInput, match="does not exist"):
        verify_export(exported.log, device.make_key())


def test_a_damaged_log_can_be_exported_as_evidence(log: AuditLog, device: DeviceStore, tmp_path: Path) -> None:
    oldest = tmp_path / "audit" / "000000000001.jsonl"
    oldest.write_bytes(oldest.read_bytes().replace(b'"number":1', b'"number":7'))
    exported = log.export(tmp_path / "stick", device)

    assert "line 2: was changed" in verify_export(exported.log, device.make_key())[0]


@pytest.mark.root
def test_a_full_stick_is_said_and_the_export_not_recorded(
    log: AuditLog, device: DeviceStore, small_disk: Path
) -> None:
    with suppress(OSError):
        (small_disk / "film.mp4").write_bytes(b"\0" * (SMALL_DISK_BYTES + 1))

    with pytest.raises(Failed, match="No space left"):
        log.export(small_disk, device)
    assert log.head().seq == 10


def fill_last_page(log: AuditLog) -> None:
    while True:
        log.append(AuditEvent.SERVICE_STOPPED, {"reason": "x" * 900})


@pytest.mark.root
def test_a_full_disk_refuses_the_entry_and_the_log_goes_on_when_there_is_room(small_disk: Path) -> None:
    log = AuditLog(small_disk / "audit", lambda: NOON)
    log.append(AuditEvent.SERVICE_STARTED)
    with suppress(OSError):
        (small_disk / "film.mp4").write_bytes(b"\0" * (SMALL_DISK_BYTES + 1))
    with pytest.raises(Failed, match="No space left"):
        fill_last_page(log)
    assert log.verify() == []
    (small_disk / "film.mp4").unlink()
    log.append(AuditEvent.SERVICE_STARTED)

    assert log.verify() == []
    assert log.entries()[-1].event == "service_started"
