"""Damage to what a box trusts, and one key more: neither lets an old stick in."""

import shutil
from datetime import UTC, datetime

import pytest

from appliance.bundle.layout import BUNDLE_DIRECTORY
from appliance.bundle.refusal import UpdateRefused
from appliance.publish.key_changes import add_key, role_keys, rotate_key
from appliance.updates.medium import Medium
from appliance.updates.trust_store import TrustStore
from appliance.updates.verifier import BundleVerifier
from appliance.updates.version_floor import write_floor
from tests.updates.boxes import ONE, Publisher, SealedBox


def all_but_roots(_directory: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".root.json")]


def store_of(box: SealedBox) -> TrustStore:
    return TrustStore(box.layout.trust)


class TestFloor:
    def test_one_key_more_lets_no_old_stick_in(self, publisher: Publisher, box: SealedBox) -> None:
        """The old stick's keys are trusted still, and python-tuf ignores metadata that it cannot read."""
        older, newer = publisher.stick(1), publisher.stick(2)
        assert box.apply(older).code == 0
        assert box.apply(newer).code == 0
        with publisher.opened() as station:
            for role in ("timestamp", "snapshot"):
                add_key(station, role)
        store, history = store_of(box), publisher.directory / "station" / "metadata"
        store.copy_to(store.scratch())
        for path in history.glob("*.root.json"):
            (store.scratch() / "root_history" / path.name).write_bytes(path.read_bytes())
        store.keep_roots(store.scratch())
        store.recover()
        assert store.root().version == 3
        for name in ("timestamp.json", "snapshot.json", "targets.json"):
            (store.current / name).write_bytes(b"")
        shutil.copytree(history, older / BUNDLE_DIRECTORY / "metadata", dirs_exist_ok=True, ignore=all_but_roots)

        with Medium.open(older) as medium, pytest.raises(UpdateRefused) as refused:
            BundleVerifier(store, medium).verify(datetime.now(UTC))
        assert refused.value.reason.name == "ROLLBACK"

    def test_a_copy_that_cannot_be_read_counts_as_lost(self, publisher: Publisher, box: SealedBox) -> None:
        assert box.apply(publisher.stick(1)).code == 0
        floor = box.layout.trust / "floor.a"
        floor.unlink()
        floor.mkdir()

        assert store_of(box).floor().root == 1

    def test_both_lost_copies_and_a_lost_pointer_are_damage(self, publisher: Publisher, box: SealedBox) -> None:
        assert box.apply(publisher.stick(1)).code == 0
        for name in ("floor.a", "floor.b", "current"):
            (box.layout.trust / name).unlink()

        with pytest.raises(UpdateRefused, match="damaged"):
            store_of(box).provision(publisher.root)


def test_a_half_written_generation_is_never_put_in_force(publisher: Publisher, box: SealedBox) -> None:
    """Cut off while a new root was kept, tried again, and cut off between the floor and the switch."""
    assert box.apply(publisher.stick(1)).code == 0
    with publisher.opened() as station:
        rotate_key(station, "timestamp", role_keys(station)["timestamp"][0][0])
    store = store_of(box)
    number = int(str(store._pointer.readlink()).removeprefix("gen-"))
    newer = (publisher.directory / "station" / "metadata" / "2.root.json").read_bytes()
    for half, content in ((True, newer[:100]), (False, newer)):
        generation = store.directory / f"gen-{number + (1 if half else 2)}"
        store.copy_to(generation)
        (generation / "root_history" / "2.root.json").write_bytes(content)
        floor = store.floor()
    write_floor(store.directory, floor.model_copy(update={"counter": floor.counter + 1, "root": 2}))
    store.recover()

    assert store.root().version == 2
    assert box.desired() == ONE
