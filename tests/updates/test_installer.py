"""A bundle on its way into a sealed box, and back out again."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.bundle.model_item import ModelItem
from appliance.bundle.receipt import SignedReceipt
from appliance.bundle.refusal import Refusal
from appliance.bundle.ticket import Devices, Requirements
from appliance.errors import Unsupported
from appliance.model.config import ModelConfig
from appliance.model.signature import ModelSignature
from appliance.publish.cutting import CutRequest
from appliance.registry.package import read_package
from appliance.registry.registry_source import RegistrySource
from appliance.registry.ticket_records import TicketState
from appliance.settings import load_settings
from tests.updates.boxes import KEEPS, MODEL_TOML, ONE, TWO, Publisher, SealedBox, write_model


def reject(_file: Path, _config: ModelConfig) -> ModelSignature:
    raise AssertionError("nothing may be tried")


def test_a_bundle_is_verified_staged_tried_and_serves(publisher: Publisher, box: SealedBox) -> None:
    outcome = box.apply(publisher.stick(1))

    assert (outcome.code, outcome.result, outcome.ticket_seq) == (0, "INSTALLED", 1)
    assert [(model.name, model.version) for model in outcome.models] == [(KEEPS, 1)]
    assert outcome.models[0].stage_bytes == outcome.models[0].size_bytes > 0
    assert box.desired() == ONE
    assert box.steps == ["VERIFY", "PLAN", "STAGE", "COMMIT", "ACTIVATE", "CONFIRM"]
    assert box.events() == ["device_provisioned", "update_accepted", "update_installed"]
    assert box.audit().verify() == []


def test_the_receipt_on_the_stick_is_signed_by_the_box_and_names_the_audit_head(
    publisher: Publisher, box: SealedBox
) -> None:
    stick = publisher.stick(1)
    outcome = box.apply(stick)
    signed = SignedReceipt.parse((stick / outcome.receipt).read_bytes())
    with box.box() as opened:
        identity = opened.identity()

    receipt = signed.verify(identity.receipt_key)
    assert (receipt.serial, receipt.ticket_id, receipt.result) == ("A1", outcome.ticket_id, "INSTALLED")
    assert [(served.name, served.version) for served in receipt.serving] == [(KEEPS, 1)]
    assert receipt.audit_digest == box.audit().head().digest
    assert outcome.audit_head == receipt.audit_head


def test_nothing_is_written_to_the_stick_where_that_is_not_wanted(publisher: Publisher, box: SealedBox) -> None:
    stick = publisher.stick(1)
    before = set(stick.rglob("*"))

    assert box.apply(stick, no_receipt=True).code == 0
    assert set(stick.rglob("*")) == before


def test_a_lost_receipt_key_does_not_hide_that_the_update_is_installed(publisher: Publisher, box: SealedBox) -> None:
    (box.layout.device / "receipt.key").unlink()

    outcome = box.apply(publisher.stick(1))
    assert (outcome.code, outcome.result, outcome.receipt) == (0, "INSTALLED", "")
    assert outcome.receipt_problem
    assert box.desired() == ONE


def test_the_same_stick_again_has_nothing_to_do(publisher: Publisher, box: SealedBox) -> None:
    stick = publisher.stick(1)
    box.apply(stick)

    again = box.apply(stick)
    assert (again.code, again.result) == (10, "NOTHING_TO_DO")
    assert again.ticket_id == "t1"


def test_inspect_says_what_apply_would_do_and_changes_nothing(publisher: Publisher, box: SealedBox) -> None:
    stick = publisher.stick(1)
    before = {path: path.stat().st_mtime_ns for path in box.layout.trust.rglob("*")}

    found = box.inspect(stick)
    assert (found.code, found.result, found.models[0].version) == (0, "ACCEPTABLE", 1)
    assert {path: path.stat().st_mtime_ns for path in box.layout.trust.rglob("*")} == before
    assert box.desired() is None


def test_a_newer_bundle_replaces_and_rollback_returns(publisher: Publisher, box: SealedBox) -> None:
    box.apply(publisher.stick(1))
    box.apply(publisher.stick(2))
    assert box.desired() == TWO

    back = box.roll_back()
    assert (back.code, back.result) == (0, "ROLLED_BACK")
    assert box.desired() == ONE
    assert box.events()[-1] == "update_rolled_back"


def test_what_was_taken_back_comes_again_only_by_retry(publisher: Publisher, box: SealedBox) -> None:
    box.apply(publisher.stick(1))
    newer = publisher.stick(2)
    box.apply(newer)
    box.roll_back()

    refused = box.apply(newer)
    assert refused.result == "PRECONDITION"
    assert "rolled back by the operator" in refused.message
    assert "update retry" in refused.hint
    assert box.apply(newer, retry=True).code == 0
    assert box.desired() == TWO


def test_an_older_stick_is_refused(publisher: Publisher, box: SealedBox) -> None:
    older = publisher.stick(1)
    box.apply(publisher.stick(2))

    refused = box.apply(older)
    assert (refused.code, refused.result) == (23, "ROLLBACK")
    assert refused.facts["have"] > refused.facts["offered"]
    assert box.desired() == TWO


def test_a_version_with_wrong_golden_answers_is_taken_back(publisher: Publisher, box: SealedBox) -> None:
    box.apply(publisher.stick(1, answer=1.0))
    bad = publisher.stick(2, answer=5.0)

    outcome = box.apply(bad)
    assert (outcome.code, outcome.result) == (33, "TRIAL_FAILED_ROLLED_BACK")
    assert "golden" in outcome.message
    assert box.desired() == ONE
    assert box.events()[-2:] == ["update_accepted", "update_rolled_back"]
    assert box.apply(bad).result == "PRECONDITION"
    assert box.apply(publisher.stick(3, answer=1.0)).code == 0


def test_a_version_that_cannot_be_opened_changes_nothing_and_is_remembered(
    publisher: Publisher, box: SealedBox
) -> None:
    good = publisher.stick(1)
    box.apply(good)
    bad = publisher.stick(2, toml=f'parameters.function = "none"\n{MODEL_TOML}')

    outcome = box.apply(bad)
    assert outcome.code == 33
    assert "parameter function is 'none'" in outcome.message
    assert box.desired() == ONE
    with box.box() as opened:
        assert opened.registry.tickets()[0].state is TicketState.FAILED
        assert [*opened.registry.digests()[KEEPS]] == [ONE]
    assert box.apply(bad).result == "PRECONDITION"
    assert box.apply(good).result == "NOTHING_TO_DO"  # trust did not move
    assert box.apply(publisher.stick(3)).code == 0


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        (CutRequest(Devices(serials=("B2",))), Refusal.WRONG_DEVICE),
        (CutRequest(Devices(groups=("hall-2",))), Refusal.WRONG_DEVICE),
        (CutRequest(Devices(all=True), hardware=("jetson",)), Refusal.WRONG_DEVICE),
        (CutRequest(Devices(all=True), allow_from=7), Refusal.PRECONDITION),
        (CutRequest(Devices(all=True), requires=Requirements(software="99.0.0")), Refusal.PRECONDITION),
        (CutRequest(Devices(all=True), requires=Requirements(gpu=True)), Refusal.PRECONDITION),
        (CutRequest(Devices(all=True), requires=Requirements(free_bytes=2**50)), Refusal.NO_SPACE),
    ],
)
def test_a_ticket_that_does_not_fit_is_refused_and_leaves_nothing(
    publisher: Publisher, box: SealedBox, request_: CutRequest, refusal: Refusal
) -> None:
    publisher.add(write_model(publisher.directory / "packages", 1))
    before = box.layout.trust.joinpath("current").readlink()

    outcome = box.apply(publisher.cut("stick", request_))
    assert (outcome.code, outcome.result) == (refusal.value, refusal.name)
    assert outcome.hint
    assert outcome.facts
    assert box.layout.trust.joinpath("current").readlink() == before
    assert not list(box.layout.blobs.joinpath("sha256").iterdir())
    assert box.events()[-1] == "update_refused"


@pytest.mark.parametrize(
    "devices", [Devices(serials=("A1",)), Devices(groups=("hall-1",)), Devices(groups=("pilot",))]
)
def test_serials_sites_and_groups_name_a_box(publisher: Publisher, tmp_path: Path, devices: Devices) -> None:
    box = SealedBox(tmp_path / "member")
    box.seal(publisher.root, groups=("pilot",))
    publisher.add(write_model(publisher.directory / "packages", 1))

    assert box.apply(publisher.cut("stick", CutRequest(devices, hardware=("pc",)))).code == 0
    box.close()


def test_the_sites_settings_are_put_in_force_and_taken_back(publisher: Publisher, box: SealedBox) -> None:
    publisher.add_settings(b'[log]\nlevel = "WARNING"\n')
    publisher.add_settings(b'[log]\nlevel = "DEBUG"\n', site="hall-2")

    outcome = box.apply(publisher.cut("stick"))
    assert outcome.settings == "config/hall-1/main.toml"
    assert outcome.skipped == ("config/hall-2/main.toml",)
    assert load_settings(overrides={"state_directory": box.layout.root}, environment={}).log.level == "WARNING"
    box.roll_back()
    assert load_settings(overrides={"state_directory": box.layout.root}, environment={}).log.level == "INFO"


def test_the_operators_own_settings_stand_above_the_sites(publisher: Publisher, box: SealedBox) -> None:
    publisher.add_settings(b'[log]\nlevel = "WARNING"\n')
    box.apply(publisher.cut("stick"))
    environment = {"APPLIANCE_LOG_LEVEL": "ERROR"}

    assert load_settings(overrides={"state_directory": box.layout.root}, environment=environment).log.level == "ERROR"


def test_a_box_that_nobody_provisioned_trusts_nobody(publisher: Publisher, tmp_path: Path) -> None:
    box = SealedBox(tmp_path / "new")

    outcome = box.apply(publisher.stick(1))
    assert (outcome.code, outcome.result) == (32, "PRECONDITION")
    assert "appliance provision" in outcome.hint
    box.close()


def test_a_sealed_box_takes_no_unsigned_package(publisher: Publisher, box: SealedBox, tmp_path: Path) -> None:
    package = read_package(write_model(tmp_path, 1))

    with box.box() as opened, pytest.raises(Unsupported, match="sealed"):
        opened.registry.add(package, check=reject)


def test_what_was_there_before_the_seal_is_not_served_after_it(publisher: Publisher, tmp_path: Path) -> None:
    box = SealedBox(tmp_path / "used")
    with box.box() as opened:
        opened.registry.add(
            read_package(write_model(tmp_path, 1)), check=lambda *_: ModelSignature(inputs=(), outputs=())
        )
        opened.registry.activate(KEEPS, ONE)
        source = RegistrySource(opened.registry)
        version = source.scan()[KEEPS].versions[ONE]
        assert source.refusal(version, 2) == ""

    box.seal(publisher.root)
    assert "came in no signed bundle" in source.refusal(version, 2)
    box.close()


def test_a_missing_part_is_named_and_nothing_has_changed(publisher: Publisher, box: SealedBox) -> None:
    stick = publisher.stick(1)
    part = next(stick.rglob(weights_of(publisher)[0].removeprefix("sha256:")))
    data = part.read_bytes()
    part.unlink()

    refused = box.apply(stick)
    assert (refused.code, refused.result) == (28, "INCOMPLETE_MEDIUM")
    assert part.name in refused.facts["missing"]
    assert box.desired() is None
    part.write_bytes(data)
    assert box.apply(stick).code == 0


def test_a_changed_part_is_found_and_only_what_is_missing_is_read_again(publisher: Publisher, box: SealedBox) -> None:
    publisher.add(write_model(publisher.directory / "packages", 1, weights=bytes(range(256)) * 40), part_bytes=4096)
    stick = publisher.cut("stick")
    parts = weights_of(publisher)
    assert len(parts) == 3
    last = next(stick.rglob(parts[2].removeprefix("sha256:")))
    data = last.read_bytes()
    last.write_bytes(data[:-1] + b"!")

    refused = box.apply(stick)
    assert (refused.code, refused.result) == (29, "HASH_MISMATCH")
    assert "part 3 of 3" in refused.message
    last.write_bytes(data)
    next(stick.rglob(parts[0].removeprefix("sha256:"))).write_bytes(b"x" * 4096)  # was staged: nobody reads it again
    assert box.apply(stick).code == 0


def test_content_that_is_gone_comes_back_from_a_stick_that_has_it(publisher: Publisher, box: SealedBox) -> None:
    stick = publisher.stick(1)
    box.apply(stick)
    with box.box() as opened:
        manifest = opened.registry.version(KEEPS, ONE).manifest
        path = opened.registry.blobs.path(manifest.files["1/model.onnx"].digest)
        path.unlink()

    outcome = box.apply(stick)
    assert (outcome.code, outcome.result) == (0, "HEALED")
    assert box.events()[-1] == "content_healed"
    with box.box() as opened:
        assert opened.registry.verify() == []


class TestTime:
    def test_the_stick_that_is_installed_heals_the_box_after_its_last_day(
        self, publisher: Publisher, box: SealedBox
    ) -> None:
        stick = publisher.cut_short(1)
        assert box.apply(stick).code == 0
        with box.box() as opened:
            manifest = opened.registry.version(KEEPS, ONE).manifest
            opened.registry.blobs.path(manifest.files["1/model.onnx"].digest).unlink()
        box.clock = datetime.now(UTC) + timedelta(days=400)

        assert box.apply(stick).result == "HEALED"
        assert box.apply(stick).result == "NOTHING_TO_DO"

    def test_a_ticket_past_its_day_by_a_clock_that_may_be_wrong(self, publisher: Publisher, box: SealedBox) -> None:
        stick = publisher.cut_short(1)
        box.clock = datetime.now(UTC) + timedelta(days=3)

        refused = box.apply(stick)
        assert (refused.code, refused.result) == (25, "CLOCK_OR_EXPIRED")
        assert refused.facts["clock"] > refused.facts["floor"]
        assert box.desired() is None

    def test_a_ticket_past_its_day_for_certain(self, publisher: Publisher, box: SealedBox) -> None:
        stick = publisher.cut_short(1)
        box.clock = datetime.now(UTC) + timedelta(days=3)
        with box.box() as opened:
            opened.clock.save()

        refused = box.apply(stick)
        assert (refused.code, refused.result) == (24, "EXPIRED")

    def test_an_operator_may_accept_it_late_as_far_as_the_policy_goes(
        self, lenient: Publisher, tmp_path: Path
    ) -> None:
        box = SealedBox(tmp_path / "state", datetime.now(UTC))
        box.seal(lenient.root)
        stick = lenient.cut_short(1)
        box.clock = datetime.now(UTC) + timedelta(days=40)
        assert box.apply(stick, allow_expired=True).result == "CLOCK_OR_EXPIRED"
        box.clock = datetime.now(UTC) + timedelta(days=3)
        assert "--allow-expired" in box.apply(stick).hint

        assert box.apply(stick, allow_expired=True).code == 0
        assert "update_expiry_waived" in box.events()
        box.close()

    def test_without_a_policy_nobody_may(self, publisher: Publisher, box: SealedBox) -> None:
        stick = publisher.cut_short(1)
        box.clock = datetime.now(UTC) + timedelta(days=3)

        assert box.apply(stick, allow_expired=True).result == "CLOCK_OR_EXPIRED"

    def test_a_clock_in_1970_is_said_and_hinders_nothing(self, publisher: Publisher, box: SealedBox) -> None:
        box.clock = datetime(1970, 1, 2, tzinfo=UTC)

        outcome = box.apply(publisher.stick(1))
        assert outcome.code == 0
        assert outcome.clock.startswith("suspect")
        assert "clock_unverified" in box.events()

    def test_what_is_installed_serves_in_twenty_years(self, publisher: Publisher, box: SealedBox) -> None:
        box.apply(publisher.stick(1))
        box.apply(publisher.stick(2))
        box.clock = datetime.now(UTC) + timedelta(days=7300)

        assert box.roll_back().code == 0
        assert box.desired() == ONE


def weights_of(publisher: Publisher) -> list[str]:
    """Digests of the parts of the model file."""
    (target,) = (publisher.directory / "station" / "targets" / "models").rglob("*.1.json")
    return [part.digest for part in ModelItem.parse(target.read_bytes()).files["1/model.onnx"].parts]
