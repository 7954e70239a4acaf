"""Receipts and checkpoints: only the box that signed them could have written them."""

from pathlib import Path

import pytest

from appliance.bundle.audit_checkpoint import AuditCheckpoint, SignedCheckpoint
from appliance.bundle.receipt import Receipt, ServedVersion, SignedReceipt
from appliance.errors import InvalidInput
from appliance.updates.device_store import DeviceStore

DIGEST = "sha256:" + "a" * 64
RECEIPT = Receipt(
    serial="BOX-7",
    hardware="jetson-orin",
    site="ward-3",
    ticket_id="spring-2026",
    ticket_seq=7,
    ticket_digest=DIGEST,
    code=0,
    result="INSTALLED",
    message="installed; digits 2 serves",
    serving=(ServedVersion(name="digits", version=2, digest=DIGEST),),
    time="2026-11-23T12:00:00Z",
    clock="trusted",
    software="0.1.0",
    audit_seq=9,
    audit_digest="b" * 64,
)


@pytest.fixture
def device(tmp_path: Path) -> DeviceStore:
    return DeviceStore(tmp_path / "device")


def test_a_receipt_that_was_read_back_is_the_one_that_was_signed(device: DeviceStore) -> None:
    key = device.make_key()
    data = SignedReceipt.sign(RECEIPT, key, device.sign).to_bytes()

    receipt = SignedReceipt.parse(data).verify(key)
    assert receipt == RECEIPT
    assert receipt.audit_head == "bbbbbbbb"


@pytest.mark.parametrize(
    "change", [{"code": 33}, {"serial": "BOX-8"}, {"audit_digest": "c" * 64}, {"serving": ()}, {"ticket_seq": 8}]
)
def test_a_receipt_that_was_changed_is_refused(device: DeviceStore, change: dict[str, object]) -> None:
    signed = SignedReceipt.sign(RECEIPT, device.make_key(), device.sign)
    changed = signed.model_copy(update={"receipt": RECEIPT.model_copy(update=change)})

    with pytest.raises(InvalidInput, match="changed, or from another box"):
        SignedReceipt.parse(changed.to_bytes()).verify(signed.key)


def test_the_key_that_a_receipt_names_itself_proves_nothing(device: DeviceStore, tmp_path: Path) -> None:
    other = DeviceStore(tmp_path / "other")
    forged = SignedReceipt.sign(RECEIPT, other.make_key(), other.sign)

    with pytest.raises(InvalidInput, match="changed, or from another box"):
        forged.verify(device.make_key())


def test_a_signature_under_one_kind_of_document_is_none_under_another(device: DeviceStore) -> None:
    checkpoint = AuditCheckpoint(
        serial="BOX-7", seq=9, digest="b" * 64, file_sha256="c" * 64, time="2026-11-23T12:00:00Z"
    )
    signed = SignedCheckpoint.sign(
        checkpoint, device.make_key(), lambda data: device.sign(data.replace(b"audit", b""))
    )

    with pytest.raises(InvalidInput, match="changed, or from another box"):
        signed.verify(signed.key)
    sound = SignedCheckpoint.sign(checkpoint, signed.key, device.sign)
    assert SignedCheckpoint.parse(sound.to_bytes()).verify(signed.key) == checkpoint


@pytest.mark.parametrize("key", ["", "zz", "00", "f" * 64])
def test_a_key_that_is_none_is_refused_in_words(device: DeviceStore, key: str) -> None:
    signed = SignedReceipt.sign(RECEIPT, device.make_key(), device.sign)

    with pytest.raises(InvalidInput, match="is not signed by the key"):
        signed.verify(key)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_receipt_that_was_cut_off_is_refused_in_words(device: DeviceStore, cut: int) -> None:
    data = SignedReceipt.sign(RECEIPT, device.make_key(), device.sign).to_bytes()

    with pytest.raises(InvalidInput, match="the signed receipt"):
        SignedReceipt.parse(data[:cut])
