"""What a box trusts: generations, floors and what becomes of them when files are lost or the process is killed."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.errors import AlreadyExists, InvalidInput
from appliance.publish.cutting import renew
from appliance.publish.key_changes import role_keys, rotate_key
from appliance.updates.medium import Medium
from appliance.updates.trust_store import TrustStore
from appliance.updates.verifier import BundleVerifier
from tests.support.kill_points import killed_before
from tests.support.power_loss import power_losses
from tests.updates.boxes import Publisher
from tests.updates.first_roots import root_file

FLOORS = ("floor.a", "floor.b")


@pytest.fixture
def store(publisher: Publisher, tmp_path: Path) -> TrustStore:
    store = TrustStore(tmp_path / "trust")
    store.provision(publisher.root)
    return store


def commit(store: TrustStore, stick: Path) -> None:
    with Medium.open(stick) as medium, BundleVerifier(store, medium).verify(datetime.now(UTC)) as bundle:
        bundle.commit()


def tree(directory: Path) -> dict[str, bytes | str]:
    """Every name below a directory with its content, or where it leads."""
    return {
        str(path.relative_to(directory)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def refusal(store: TrustStore) -> Refusal:
    with pytest.raises(UpdateRefused) as caught:
        store.versions()
    return caught.value.reason


def test_the_first_root_is_trusted_once(store: TrustStore, publisher: Publisher) -> None:
    store.provision(publisher.root)
    with pytest.raises(AlreadyExists):
        store.provision(root_file())

    assert store.bootstrap() == publisher.root
    assert store.versions() == {"root": 1}


@pytest.mark.parametrize("signers", [0, 1])
def test_a_root_that_does_not_sign_itself_is_no_beginning(tmp_path: Path, signers: int) -> None:
    store = TrustStore(tmp_path / "trust")
    with pytest.raises(InvalidInput):
        store.provision(root_file(signers=signers))

    assert not store.is_provisioned
    assert not (tmp_path / "trust").exists()


@pytest.mark.parametrize("lost", FLOORS)
@pytest.mark.parametrize("damage", [None, b"", b"rot", b"\n"])
def test_one_copy_of_the_floor_is_enough(
    store: TrustStore, publisher: Publisher, lost: str, damage: bytes | None
) -> None:
    commit(store, publisher.stick(1))
    before = store.versions()
    (store.directory / lost).unlink()
    if damage is not None:
        (store.directory / lost).write_bytes(damage)

    assert store.versions() == before


@pytest.mark.parametrize("damage", [None, b"", b"rot", b"\n"])
def test_without_a_copy_of_the_floor_nothing_is_believed(store: TrustStore, damage: bytes | None) -> None:
    for name in FLOORS:
        (store.directory / name).unlink()
        if damage is not None:
            (store.directory / name).write_bytes(damage)

    assert refusal(store) is Refusal.STATE_DAMAGED
    with pytest.raises(UpdateRefused):
        store.recover()
    assert refusal(store) is Refusal.STATE_DAMAGED


def test_of_two_copies_of_the_floor_the_later_one_counts(store: TrustStore, publisher: Publisher) -> None:
    commit(store, publisher.stick(1))
    older = (store.directory / "floor.b").read_bytes()
    commit(store, publisher.stick(2))
    newer = store.versions()
    (store.directory / "floor.b").write_bytes(older)  # the power was cut between the two

    assert store.versions() == newer
    (store.directory / "floor.b").write_bytes((store.directory / "floor.a").read_bytes())
    (store.directory / "floor.a").write_bytes(older)
    assert store.versions() == newer


def test_a_lost_pointer_is_damage_and_not_a_box_without_an_owner(store: TrustStore, publisher: Publisher) -> None:
    commit(store, publisher.stick(1))
    before = tree(store.directory)
    (store.directory / "current").unlink()
    for attempt in (store.recover, lambda: store.provision(publisher.root)):
        with pytest.raises(UpdateRefused) as caught:
            attempt()
        assert caught.value.reason is Refusal.STATE_DAMAGED

    before.pop("current")
    assert tree(store.directory) == before  # for whoever repairs it


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff", b"null"])
def test_a_damaged_root_is_damage_and_not_the_root_before(
    store: TrustStore, publisher: Publisher, damage: bytes
) -> None:
    with publisher.opened() as station:
        renew(station, "root")
    commit(store, publisher.stick(1))
    (store.current / "root_history" / "2.root.json").write_bytes(damage)

    assert refusal(store) is Refusal.STATE_DAMAGED


class TestInspecting:
    def test_looking_at_a_bundle_changes_nothing(self, store: TrustStore, publisher: Publisher) -> None:
        with publisher.opened() as station:
            renew(station, "root")
        stick = publisher.stick(1)
        before = tree(store.directory)
        with (
            Medium.open(stick) as medium,
            BundleVerifier(store, medium).verify(datetime.now(UTC), keep_roots=False) as bundle,
        ):
            assert bundle.versions["timestamp"] == 1

        assert tree(store.directory) == before

    def test_what_is_not_committed_is_forgotten(self, store: TrustStore, publisher: Publisher) -> None:
        before = tree(store.directory)
        with (
            Medium.open(publisher.stick(1)) as medium,
            BundleVerifier(store, medium).verify(datetime.now(UTC)),
        ):
            pass

        assert tree(store.directory) == before


class TestWhoSigns:
    TARGET = "models/factory/keeps/1.json"

    def digest(self, publisher: Publisher) -> str:
        (target,) = (publisher.directory / "station" / "targets" / "models").rglob("*.1.json")
        return target.name.partition(".")[0]

    def read(self, store: TrustStore, stick: Path, target: str, digest: str) -> None:
        with Medium.open(stick) as medium, BundleVerifier(store, medium).verify(datetime.now(UTC)) as bundle:
            bundle.read_target(target, digest)
            bundle.commit()

    def test_a_target_is_signed_with_one_content(self, store: TrustStore, publisher: Publisher) -> None:
        stick = publisher.stick(1)
        digest = self.digest(publisher)
        assert not store.signs(self.TARGET, digest)
        self.read(store, stick, self.TARGET, digest)

        assert store.signs(self.TARGET, digest)
        assert not store.signs(self.TARGET, "0" * 64)
        assert not store.signs("models/factory/keeps/2.json", digest)

    def test_what_a_revoked_key_signed_is_signed_by_nobody(self, store: TrustStore, publisher: Publisher) -> None:
        stick = publisher.stick(1)
        digest = self.digest(publisher)
        self.read(store, stick, self.TARGET, digest)
        with publisher.opened() as station:
            rotate_key(station, "models-factory", role_keys(station)["models-factory"][0][0])
        commit(store, publisher.stick(2))  # nothing of the role is looked up: its old file stays

        assert (store.current / "models-factory.json").exists()
        assert not store.signs(self.TARGET, digest)

    @pytest.mark.parametrize("damage", [b"", b"{}", b"\xff"])
    def test_a_damaged_file_signs_nothing(self, store: TrustStore, publisher: Publisher, damage: bytes) -> None:
        stick = publisher.stick(1)
        digest = self.digest(publisher)
        self.read(store, stick, self.TARGET, digest)
        (store.current / "models-factory.json").write_bytes(damage)

        assert not store.signs(self.TARGET, digest)


FIRST = root_file()


@pytest.mark.slow
@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
def test_a_first_root_is_there_or_not_wherever_it_is_cut(tmp_path: Path, power: bool) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    template.mkdir()
    seen = set()
    for place in cuts(template, state, lambda: TrustStore(state / "trust").provision(FIRST), power=power):
        store = TrustStore(state / "trust")
        store.recover()
        seen.add(store.is_provisioned)
        store.provision(FIRST)
        assert store.versions() == {"root": 1}, place

    assert seen == {False, True}


@pytest.mark.slow
@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
def test_new_metadata_and_a_new_root_are_trusted_or_not_wherever_it_is_cut(
    publisher: Publisher,
    tmp_path: Path,
    power: bool,
) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    store = TrustStore(template / "trust")
    store.provision(publisher.root)
    older = publisher.stick(1)
    commit(store, older)
    with publisher.opened() as station:
        renew(station, "root")
    newer = publisher.stick(2)
    seen = set()
    for place in cuts(template, state, lambda: commit(TrustStore(state / "trust"), newer), power=power):
        store = TrustStore(state / "trust")
        store.recover()
        versions = store.versions()
        seen.add((versions["root"], versions["timestamp"]))
        assert store.versions()["root"] == Metadata.from_bytes(store.bootstrap()).signed.version, place
        commit(store, newer)
        assert store.versions()["timestamp"] == 2, place
        with pytest.raises(UpdateRefused) as caught:
            commit(store, older)
        assert caught.value.reason is Refusal.ROLLBACK, place

    assert seen == {(1, 1), (2, 1), (2, 2)}


def cuts(template: Path, state: Path, operation: Callable[[], object], *, power: bool) -> Iterator[str]:
    """Put at `state` what each cut leaves of the operation; yields where it was cut."""
    if power:
        for loss in power_losses(template, state, lambda: operation):
            yield loss.place
        return
    at, answer = 0, '"killed"'
    while answer == '"killed"':
        at += 1
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(template, state, symlinks=True)
        answer = killed_before(at, lambda: operation)
        yield f"operation {at}"
