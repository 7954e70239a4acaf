"""Who a box is: written once, and damage is said, never papered over."""

from pathlib import Path

import pytest

from appliance.bundle.device import DeviceIdentity
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.updates.device_store import DeviceStore


@pytest.fixture
def store(tmp_path: Path) -> DeviceStore:
    return DeviceStore(tmp_path / "device")


def seal(store: DeviceStore) -> DeviceIdentity:
    identity = DeviceIdentity(
        serial="BOX-7",
        hardware="jetson-orin",
        site="ward-3",
        sealed_at="2026-11-23T12:00:00Z",
        receipt_key=store.make_key(),
    )
    store.seal(identity)
    return identity


def test_a_box_that_was_never_provisioned_is_not_sealed(store: DeviceStore) -> None:
    assert not store.is_sealed
    assert store.identity() is None
    assert store.first_root() is None
    assert not store.directory.exists()


def test_a_sealed_box_knows_who_it_is(store: DeviceStore) -> None:
    identity = seal(store)

    assert store.is_sealed
    assert DeviceStore(store.directory).identity() == identity


def test_the_key_is_made_once_and_is_for_its_owner_only(store: DeviceStore) -> None:
    first = store.make_key()

    assert store.make_key() == first
    assert (store.directory / "receipt.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in store.directory.iterdir()] == ["receipt.key"]


@pytest.mark.parametrize("data", [b"", b"{}", b"not json"])
def test_a_damaged_identity_is_state_damaged_and_still_seals_the_box(store: DeviceStore, data: bytes) -> None:
    seal(store)
    (store.directory / "identity.json").write_bytes(data)

    assert store.is_sealed
    with pytest.raises(UpdateRefused, match=r"identity\.json") as refused:
        store.identity()
    assert refused.value.reason is Refusal.STATE_DAMAGED


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda key: key.unlink(), "is missing"),
        (lambda key: key.write_bytes(b"junk"), "cannot be read"),
        (lambda key: (key.unlink(), DeviceStore(key.parent).make_key()), "is not the key of this box"),
    ],
)
def test_a_key_that_is_lost_or_exchanged_signs_nothing(store: DeviceStore, damage, message: str) -> None:
    seal(store)
    damage(store.directory / "receipt.key")

    with pytest.raises(UpdateRefused, match=message) as refused:
        store.sign(b"document")
    assert refused.value.reason is Refusal.STATE_DAMAGED
