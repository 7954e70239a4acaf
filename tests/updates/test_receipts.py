"""Receipts on a medium: read back as they were signed; a medium that cannot take one is no error."""

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.bundle.device import DeviceIdentity
from appliance.bundle.receipt import Receipt, ServedVersion, SignedReceipt
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.updates.audit_entry import AuditHead
from appliance.updates.device_store import DeviceStore
from appliance.updates.outcome import UpdateOutcome
from appliance.updates.receipts import sign_receipt, write_receipt
from tests.support.small_disk import SMALL_DISK_BYTES

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
HEAD = AuditHead(seq=9, digest="b" * 64)
INSTALLED = UpdateOutcome(
    0, "INSTALLED", "installed", ticket_id="spring", ticket_seq=7, ticket_digest=DIGEST, clock="trusted"
)


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
def stick(tmp_path: Path) -> Path:
    (tmp_path / "stick").mkdir()
    return tmp_path / "stick"


def sign(device: DeviceStore, outcome: UpdateOutcome = INSTALLED) -> SignedReceipt:
    serving = [ServedVersion(name="digits", version=2, digest=DIGEST)]
    return sign_receipt(device, outcome, serving=serving, time=NOON, software="0.1.0", audit=HEAD)


def key_of(device: DeviceStore) -> str:
    identity = device.identity()
    assert identity is not None
    return identity.receipt_key


def test_a_receipt_comes_back_from_the_stick_as_it_was_signed(device: DeviceStore, stick: Path) -> None:
    written = write_receipt(stick, sign(device))

    assert written.path == "RECEIPTS/BOX-7-spring-1.json"
    receipt: Receipt = SignedReceipt.parse((stick / written.path).read_bytes()).verify(key_of(device))
    assert (receipt.code, receipt.result, receipt.ticket_seq, receipt.ticket_digest) == (0, "INSTALLED", 7, DIGEST)
    assert (receipt.serving[0].version, receipt.time, receipt.clock) == (2, "2026-11-23T12:00:00Z", "trusted")
    assert (receipt.audit_seq, receipt.audit_head) == (9, "bbbbbbbb")


def test_receipts_never_overwrite_each_other(device: DeviceStore, stick: Path) -> None:
    signed = sign(device)
    paths = [write_receipt(stick, signed).path for _ in range(3)]

    assert paths == [f"RECEIPTS/BOX-7-spring-{number}.json" for number in (1, 2, 3)]
    assert len(list((stick / "RECEIPTS").iterdir())) == 3


def test_a_refusal_has_a_receipt_too_even_without_a_ticket(device: DeviceStore, stick: Path) -> None:
    refused = UpdateRefused(Refusal.BAD_SIGNATURE, "x" * 10_000 + "\udcff", hint="next")
    written = write_receipt(stick, sign(device, UpdateOutcome.of_refusal(refused)))

    assert written.path == "RECEIPTS/BOX-7-no-ticket-1.json"
    receipt = SignedReceipt.parse((stick / written.path).read_bytes()).verify(key_of(device))
    assert (receipt.code, receipt.result) == (20, "BAD_SIGNATURE")


def test_what_a_pulled_stick_left_half_written_is_replaced(device: DeviceStore, stick: Path) -> None:
    (stick / "RECEIPTS").mkdir()
    (stick / "RECEIPTS" / "BOX-7-spring.tmp").write_bytes(b"half")
    write_receipt(stick, sign(device))

    assert [path.name for path in (stick / "RECEIPTS").iterdir()] == ["BOX-7-spring-1.json"]


def outside_link(stick: Path) -> None:
    (stick.parent / "outside").mkdir()
    (stick / "RECEIPTS").symlink_to(stick.parent / "outside")


def plain_file(stick: Path) -> None:
    (stick / "RECEIPTS").write_bytes(b"")


def fifo(stick: Path) -> None:
    os.mkfifo(stick / "RECEIPTS")


def pulled(stick: Path) -> None:
    stick.rmdir()


@pytest.mark.parametrize("hostile", [outside_link, plain_file, fifo, pulled])
def test_a_hostile_or_vanished_medium_gets_no_receipt_and_says_why(
    device: DeviceStore, stick: Path, hostile: Callable[[Path], None]
) -> None:
    hostile(stick)
    written = write_receipt(stick, sign(device))

    assert written.path == ""
    assert "could not be written" in written.problem
    assert not list((stick.parent / "outside").glob("*"))


def test_links_laid_out_as_receipts_are_not_written_through(device: DeviceStore, stick: Path) -> None:
    victim = stick.parent / "victim"
    victim.write_bytes(b"precious")
    (stick / "RECEIPTS").mkdir()
    for name in ("BOX-7-spring.tmp", "BOX-7-spring-1.json"):
        (stick / "RECEIPTS" / name).symlink_to(victim)

    assert write_receipt(stick, sign(device)).path == "RECEIPTS/BOX-7-spring-2.json"
    assert victim.read_bytes() == b"precious"


@pytest.mark.root
def test_a_read_only_stick_is_no_problem(device: DeviceStore, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    written = write_receipt(small_disk, sign(device))

    assert (written.path, written.problem) == ("", "")


@pytest.mark.root
def test_a_full_stick_keeps_the_receipts_that_it_has_and_the_reason_is_said(
    device: DeviceStore, small_disk: Path
) -> None:
    write_receipt(small_disk, sign(device))
    with suppress(OSError):
        (small_disk / "film.mp4").write_bytes(b"\0" * (SMALL_DISK_BYTES + 1))
    written = write_receipt(small_disk, sign(device))

    assert written.path == ""
    assert "No space left on device" in written.problem
    assert [path.name for path in (small_disk / "RECEIPTS").iterdir()] == ["BOX-7-spring-1.json"]


def test_a_box_without_a_name_signs_no_receipt(tmp_path: Path) -> None:
    with pytest.raises(UpdateRefused, match="never provisioned"):
        sign(DeviceStore(tmp_path / "device"))
