"""Attacks on updates (the names are TUF's), each from a real bundle: refused with its class, and nothing is lost."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, TargetFile, Targets

from appliance.bundle.layout import BUNDLE_DIRECTORY, TICKET_TARGET, hashed_target
from appliance.bundle.model_item import ModelItem
from appliance.bundle.refusal import UpdateRefused
from appliance.publish.cutting import renew
from appliance.publish.key_changes import revoke_key, role_keys, rotate_key
from appliance.updates.read_ahead import chunks
from tests.updates.boxes import KEEPS, ONE, TWO, Publisher, SealedBox
from tests.updates.forging import change, metadata_of, newest, signers_of, vouch_again


@pytest.fixture
def installed(publisher: Publisher, box: SealedBox) -> SealedBox:
    """A box with version 1."""
    assert box.apply(publisher.stick(1)).code == 0
    return box


def assert_refused(box: SealedBox, stick: Path, result: str, good: Path) -> None:
    """Refused with its class; what serves goes on; a good stick works afterwards."""
    outcome = box.apply(stick)
    assert outcome.result == result, outcome
    assert outcome.hint
    assert box.desired() == ONE
    assert box.apply(good).code == 0
    assert box.desired() == TWO


def copied(stick: Path, name: str) -> Path:
    return Path(shutil.copytree(stick, stick.with_name(name)))


class TestArbitraryInstall:
    def test_a_bundle_of_another_owner(self, publisher: Publisher, installed: SealedBox, tmp_path: Path) -> None:
        stranger = Publisher(tmp_path / "stranger")
        stranger.hold_ceremony()
        stranger.stick(3)

        assert_refused(installed, stranger.stick(4), "BAD_SIGNATURE", publisher.stick(2))

    def test_a_ticket_that_was_rewritten(self, publisher: Publisher, installed: SealedBox) -> None:
        good = publisher.stick(2)
        evil = copied(good, "evil")
        (ticket,) = (evil / BUNDLE_DIRECTORY / "targets" / "tickets").iterdir()
        ticket.write_bytes(ticket.read_bytes().replace(b'"seq":2', b'"seq":9'))

        assert_refused(installed, evil, "HASH_MISMATCH", good)

    def test_a_publisher_who_signs_for_another(self, publisher: Publisher, installed: SealedBox) -> None:
        """With the tickets, snapshot and timestamp keys as well: delegation still keeps publishers apart."""
        with publisher.opened() as station:
            from appliance.publish.items import add_publisher  # noqa: PLC0415

            add_publisher(station, "rival")
        good = publisher.stick(2)
        evil = copied(good, "evil")
        path = "models/rival/keeps/2.json"

        def steal(targets: Any) -> None:
            original = targets.targets["models/factory/keeps/2.json"]
            targets.targets = {path: TargetFile(original.length, original.hashes, path)}

        change(evil, "models-factory", steal, signers_of(publisher, "models-factory"))
        vouch_again(publisher, evil, "models-factory")
        name_in_ticket(publisher, evil, b"models/factory/keeps/2.json", path.encode())

        assert_refused(installed, evil, "BAD_SIGNATURE", good)

    def test_content_other_than_the_ticket_names(self, publisher: Publisher, installed: SealedBox) -> None:
        good = publisher.stick(2)
        evil = copied(good, "evil")

        def exchange(targets: Any) -> None:
            targets.targets["models/factory/keeps/2.json"] = targets.targets["models/factory/keeps/1.json"]

        change(evil, "models-factory", exchange, signers_of(publisher, "models-factory"))
        vouch_again(publisher, evil, "models-factory")

        assert_refused(installed, evil, "HASH_MISMATCH", good)


class TestRollback:
    @pytest.mark.parametrize("damage", [b"", b"{}", None])
    @pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
    def test_damaged_metadata_on_the_box_does_not_let_an_old_stick_in(
        self, publisher: Publisher, box: SealedBox, name: str, damage: bytes | None
    ) -> None:
        older, newer = publisher.stick(1), publisher.stick(2)
        box.apply(newer)
        path = box.layout.trust / "current" / name
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)

        assert box.apply(older).result in ("ROLLBACK", "STATE_DAMAGED")
        assert box.desired() == TWO

    def test_one_lost_copy_of_the_floor_does_not_matter(self, publisher: Publisher, installed: SealedBox) -> None:
        (installed.layout.trust / "floor.a").write_bytes(b"")

        assert installed.apply(publisher.stick(2)).code == 0

    def test_both_lost_copies_are_damage_and_never_a_new_beginning(
        self, publisher: Publisher, installed: SealedBox
    ) -> None:
        for name in ("floor.a", "floor.b"):
            (installed.layout.trust / name).write_bytes(b"")

        outcome = installed.apply(publisher.stick(2))
        assert (outcome.code, outcome.result) == (34, "STATE_DAMAGED")
        assert installed.desired() == ONE


def test_freeze_metadata_that_expired_is_not_accepted_again(publisher: Publisher, installed: SealedBox) -> None:
    frozen = publisher.cut_short(2)
    installed.clock = datetime.now(UTC) + timedelta(days=3)
    with installed.box() as opened:
        opened.clock.save()

    assert installed.apply(frozen).result == "EXPIRED"
    assert installed.desired() == ONE


def test_fast_forward_is_recovered_from_by_new_keys(publisher: Publisher, installed: SealedBox) -> None:
    """Stolen snapshot and timestamp keys push the versions beyond what the owner will ever reach."""
    evil = publisher.stick(2)

    def far_away(signed: Any) -> None:
        signed.version = 1_000_000

    snapshot = change(evil, "snapshot", far_away, signers_of(publisher, "snapshot"))

    def name_snapshot(timestamp: Any) -> None:
        timestamp.version = 1_000_000
        timestamp.snapshot_meta = MetaFile.from_data(1_000_000, snapshot.read_bytes(), ["sha256"])

    change(evil, "timestamp", name_snapshot, signers_of(publisher, "timestamp"))
    assert installed.apply(evil).code == 0
    assert installed.apply(publisher.stick(3)).result == "ROLLBACK"
    with publisher.opened() as station:
        for role in ("timestamp", "snapshot"):
            rotate_key(station, role, role_keys(station)[role][0][0])

    assert installed.apply(publisher.stick(4)).code == 0


def test_mix_and_match_of_two_bundles(publisher: Publisher, installed: SealedBox) -> None:
    older, newer = publisher.directory / "sticks" / "v1", publisher.stick(2)
    mixed = copied(newer, "mixed")
    newest(mixed, "snapshot").write_bytes(newest(older, "snapshot").read_bytes())

    assert_refused(installed, mixed, "HASH_MISMATCH", newer)


class TestThresholds:
    def test_one_of_two_approvers_is_not_enough(self, publisher: Publisher, installed: SealedBox) -> None:
        good = publisher.stick(2)
        evil = copied(good, "evil")

        def touch(targets: Any) -> None:
            targets.version += 1

        change(evil, "targets", touch, signers_of(publisher, "targets", 1))
        vouch_again(publisher, evil, "targets")

        outcome = installed.apply(evil)
        assert (outcome.code, outcome.facts["got"], outcome.facts["need"]) == (21, 1, 2)
        assert_refused(installed, evil, "THRESHOLD", good)

    def test_one_approver_who_signs_twice_is_not_enough(self, publisher: Publisher, installed: SealedBox) -> None:
        good = publisher.stick(2)
        evil = copied(good, "evil")

        def touch(targets: Any) -> None:
            targets.version += 1

        path = change(evil, "targets", touch, signers_of(publisher, "targets", 1))
        text = path.read_text()
        signature = text[text.index('"signatures"') :].partition("{")[2].partition("}")[0]
        path.write_text(text.replace("{" + signature + "}", "{" + signature + "},{" + signature + "}", 1))
        vouch_again(publisher, evil, "targets")

        assert_refused(installed, evil, "BAD_SIGNATURE", good)

    def test_a_new_root_needs_two_of_the_old_keys(self, publisher: Publisher, installed: SealedBox) -> None:
        good = publisher.stick(2)
        evil = copied(good, "evil")
        (first,) = metadata_of(evil).glob("1.root.json")
        metadata: Metadata[Any] = Metadata.from_file(str(first))
        metadata.signed.version = 2
        metadata.signatures.clear()
        metadata.sign(signers_of(publisher, "root", 1)[0])
        (metadata_of(evil) / "2.root.json").write_bytes(metadata.to_bytes())

        assert_refused(installed, evil, "THRESHOLD", good)


class TestRevocation:
    def test_a_revoked_publishers_key_signs_nothing_more(self, publisher: Publisher, installed: SealedBox) -> None:
        stolen = signers_of(publisher, "models-factory")
        with publisher.opened() as station:
            rotate_key(station, "models-factory", role_keys(station)["models-factory"][0][0])
        good = publisher.stick(2)
        evil = copied(good, "evil")

        def touch(targets: Any) -> None:
            targets.version += 1

        change(evil, "models-factory", touch, stolen)
        vouch_again(publisher, evil, "models-factory")

        assert_refused(installed, evil, "BAD_SIGNATURE", good)

    def test_a_revocation_sticks_even_if_the_rest_of_the_stick_is_bad(
        self, publisher: Publisher, installed: SealedBox
    ) -> None:
        """The timestamp key was stolen: the attacker's stick is refused after the owner's, damaged one was seen."""
        evil = publisher.stick(2)
        with publisher.opened() as station:
            rotate_key(station, "timestamp", role_keys(station)["timestamp"][0][0])
        damaged = publisher.stick(3)
        shutil.rmtree(damaged / BUNDLE_DIRECTORY / "oci")

        assert installed.apply(damaged).result == "INCOMPLETE_MEDIUM"
        assert "root_rotated" in installed.events()
        assert installed.apply(evil).result == "BAD_SIGNATURE"
        assert installed.desired() == ONE

    def test_lost_roots_on_the_box_do_not_bring_a_revoked_key_back(
        self, publisher: Publisher, installed: SealedBox
    ) -> None:
        evil = publisher.stick(2)
        with publisher.opened() as station:
            rotate_key(station, "timestamp", role_keys(station)["timestamp"][0][0])
        installed.apply(publisher.stick(3))
        (installed.layout.trust / "current" / "root_history" / "2.root.json").unlink()

        assert installed.apply(evil).result == "STATE_DAMAGED"


def test_a_skipped_root_is_named(publisher: Publisher, installed: SealedBox) -> None:
    with publisher.opened() as station:
        for _ in range(2):
            renew(station, "root")
    good = publisher.stick(2)
    evil = copied(good, "evil")
    (metadata_of(evil) / "2.root.json").unlink()

    outcome = installed.apply(evil)
    assert (outcome.code, outcome.facts["missing"]) == (22, ["2"])
    assert_refused(installed, evil, "ROOT_CHAIN_GAP", good)


def test_the_first_root_key_can_leave_and_the_box_follows_the_chain(
    publisher: Publisher, installed: SealedBox
) -> None:
    with publisher.opened() as station:
        revoke_key(station, "root", role_keys(station)["root"][0][0])

    assert installed.apply(publisher.stick(2)).code == 0
    with installed.box() as opened:
        assert opened.trust.root().version == 2
        assert len(opened.trust.root().key_ids) == 2


def test_a_diamond_of_delegations_trusts_each_way_by_its_own_keys(publisher: Publisher, installed: SealedBox) -> None:
    """Two roles delegate to a third with different keys; what only the second one's key signed is refused."""
    good = publisher.stick(2)
    evil = copied(good, "evil")
    factory, software = signers_of(publisher, "models-factory"), signers_of(publisher, "software")
    top = metadata_of(evil)

    def delegating(signers: list[Any]) -> Any:
        def edit(targets: Any) -> None:
            role = DelegatedRole("shared", [signers[0].public_key.keyid], 1, False, paths=["*/*/*/*", "*/*/*"])
            key = signers[0].public_key
            targets.targets.clear()
            targets.delegations = Delegations({key.keyid: key}, {"shared": role})
            targets.version += 1

        return edit

    original = Metadata[Any].from_file(str(newest(evil, "models-factory"))).signed.targets
    change(evil, "models-factory", delegating(factory), factory)
    change(evil, "software", delegating(software), software)
    shared = Metadata(Targets(version=1, expires=datetime.now(UTC) + timedelta(days=365), targets=original))
    shared.sign(software[0])
    (top / "1.shared.json").write_bytes(shared.to_bytes())
    for role in ("models-factory", "software", "shared"):
        vouch_again(publisher, evil, role)

    assert_refused(installed, evil, "BAD_SIGNATURE", good)


class TestEndlessAndSlow:
    @pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "models-factory"])
    def test_endless_metadata_is_not_read_to_its_end(
        self, publisher: Publisher, installed: SealedBox, role: str
    ) -> None:
        with publisher.opened() as station:
            renew(station, "targets")  # or the box would not read it again
        good = publisher.stick(2)
        evil = copied(good, "evil")
        os.truncate(newest(evil, role), 2**40)  # a sparse file of a tebibyte

        assert_refused(installed, evil, "HASH_MISMATCH", good)

    def test_endless_content_is_not_written_to_the_disk(self, publisher: Publisher, installed: SealedBox) -> None:
        good = publisher.stick(2)
        evil = copied(good, "evil")
        for blob in (evil / BUNDLE_DIRECTORY / "oci" / "blobs" / "sha256").iterdir():
            os.truncate(blob, 2**40)

        assert_refused(installed, evil, "HASH_MISMATCH", good)

    def test_a_medium_that_does_not_answer_is_given_up(self) -> None:
        reader, writer = os.pipe()
        stream = os.fdopen(reader, "rb", buffering=0)
        with pytest.raises(UpdateRefused, match="did not answer"):
            list(chunks(stream, chunk_bytes=16, timeout_s=0.05))
        os.close(writer)  # the reading thread comes to its end
        stream.close()

    def test_a_medium_that_disappears_while_it_is_read(self, publisher: Publisher, installed: SealedBox) -> None:
        good = publisher.stick(2)
        going = copied(good, "going")
        note = installed._note

        def pull_out(progress: Any) -> None:
            note(progress)
            if progress.step == "STAGE":
                shutil.rmtree(going, ignore_errors=True)

        installed._note = pull_out  # type: ignore[method-assign]  # the test's own listener
        assert_refused(installed, going, "INCOMPLETE_MEDIUM", good)


@pytest.mark.slow
def test_one_bit_in_any_file_of_the_stick_is_found_or_changes_nothing(
    publisher: Publisher, installed: SealedBox
) -> None:
    """A file that the box does not need (what it has, what is for others) may say what it likes."""
    good = publisher.stick(2)
    files = sorted(path for path in (good / BUNDLE_DIRECTORY).rglob("*") if path.is_file())
    state = installed.layout.root
    template = Path(shutil.copytree(state, state.with_name("template"), symlinks=True))
    signed = signed_digest(publisher)
    refused = set()

    for path in files:
        data = path.read_bytes()
        for at in sorted({0, len(data) // 2, len(data) - 1}):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            if installed.apply(good).code == 0:
                with installed.box() as opened:
                    assert opened.registry.version(KEEPS, TWO).digest == signed, f"{path} byte {at}"
                    assert opened.registry.verify() == [], f"{path} byte {at}"
                shutil.rmtree(state)
                shutil.copytree(template, state, symlinks=True)
            else:
                refused.add(path)
                assert installed.desired() == ONE, f"{path} byte {at}"
        path.write_bytes(data)

    needed = [newest(good, role) for role in ("timestamp", "snapshot", "tickets", "models-factory")]
    assert refused >= {
        *needed,
        *(path for path in files if "targets/tickets" in str(path) or "targets/models" in str(path)),
    }
    assert sum(path.parent.name == "sha256" for path in refused) == 1  # the one new part
    assert installed.apply(good).code == 0


def signed_digest(publisher: Publisher) -> str:
    (target,) = (publisher.directory / "station" / "targets" / "models").rglob("*.2.json")
    return ModelItem.parse(target.read_bytes()).manifest


def name_in_ticket(publisher: Publisher, stick: Path, old: bytes, new: bytes) -> None:
    """Rewrite the ticket, with all the keys that this takes."""
    directory = stick / BUNDLE_DIRECTORY / "targets" / "tickets"
    (ticket,) = directory.iterdir()
    data = ticket.read_bytes().replace(old, new)
    ticket.unlink()
    target = TargetFile.from_data(TICKET_TARGET, data, ["sha256"])
    (stick / BUNDLE_DIRECTORY / "targets" / hashed_target(TICKET_TARGET, target.hashes["sha256"])).write_bytes(data)

    def edit(targets: Any) -> None:
        targets.targets = {TICKET_TARGET: target}

    change(stick, "tickets", edit, signers_of(publisher, "tickets"))
    vouch_again(publisher, stick, "tickets")
