"""Small things that break on a box: it goes on serving, says what is wrong, and never opens up by itself."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance.bundle.ticket import Devices
from appliance.daemon import offline_updates
from appliance.errors import Unsupported
from appliance.model.config import ModelConfig
from appliance.model.signature import ModelSignature
from appliance.publish.cutting import CutRequest
from appliance.publish.items import add_model, add_publisher
from appliance.registry.package import read_package
from appliance.settings import load_settings
from appliance.updates.journal import OpenUpdate
from appliance.updates.outcome import UpdateOutcome
from appliance.updates.preparation import ApplyRequest
from appliance.updates.update_run import UpdateProgress
from appliance.updates.update_works import UpdateWorks
from tests.updates.boxes import ONE, SITE, Publisher, SealedBox, silent, write_model

ALL = CutRequest(Devices(all=True))


def reject(_file: Path, _config: ModelConfig) -> ModelSignature:
    raise AssertionError("nothing may be tried")


def level(box: SealedBox) -> str:
    return load_settings(overrides={"state_directory": box.layout.root}, environment={}).log.level


def set_level(publisher: Publisher, name: str, site: str = SITE) -> None:
    publisher.add_settings(f'[log]\nlevel = "{name}"\n'.encode(), site=site)


class TestSettings:
    def test_the_same_settings_again_survive_a_failed_trial(self, publisher: Publisher, box: SealedBox) -> None:
        set_level(publisher, "WARNING")
        publisher.add(write_model(publisher.directory / "p", 1, answer=1.0))
        assert box.apply(publisher.cut("one", ALL)).code == 0
        publisher.add(write_model(publisher.directory / "p", 2, answer=5.0))

        assert box.apply(publisher.cut("two", ALL)).code == 33
        assert (box.desired(), level(box)) == (ONE, "WARNING")

    def test_a_rollback_takes_back_only_what_its_ticket_changed(self, publisher: Publisher, box: SealedBox) -> None:
        set_level(publisher, "WARNING")
        publisher.add(write_model(publisher.directory / "p", 1))
        box.apply(publisher.cut("one", ALL))
        publisher.add(write_model(publisher.directory / "p", 2))
        set_level(publisher, "DEBUG", site="hall-2")
        box.apply(publisher.cut("two", ALL))

        assert box.roll_back().code == 0
        assert (box.desired(), level(box)) == (ONE, "WARNING")

    def test_two_rollbacks_are_two_steps(self, publisher: Publisher, box: SealedBox) -> None:
        for name in ("WARNING", "ERROR", "DEBUG"):
            set_level(publisher, name)
            assert box.apply(publisher.cut(name, ALL)).code == 0

        box.roll_back()
        assert level(box) == "ERROR"
        box.roll_back()
        assert level(box) == "WARNING"

    @pytest.mark.parametrize(
        "address", ["192.0.2.1:8001", "nosuchhost.example:8001", "unix:/nonexistent/x.sock", "[2001:db8::1]:8001"]
    )
    def test_an_address_that_the_box_does_not_have_is_taken_back(
        self, publisher: Publisher, box: SealedBox, address: str
    ) -> None:
        set_level(publisher, "WARNING")
        box.apply(publisher.cut("one", ALL))
        publisher.add_settings(f'[server]\nlisten = ["{address}"]\n'.encode())

        outcome = box.apply(publisher.cut("two", ALL))
        assert (outcome.code, outcome.result) == (33, "TRIAL_FAILED_ROLLED_BACK")
        assert address in outcome.message
        assert level(box) == "WARNING"

    def test_addresses_of_this_box_are_taken(self, publisher: Publisher, box: SealedBox) -> None:
        publisher.add_settings(b'[server]\nlisten = ["127.0.0.1:0", "localhost:8001", "unix:/tmp/x.sock"]\n')

        assert box.apply(publisher.cut("one", ALL)).code == 0

    @pytest.mark.parametrize("damage", [b"\xff\xfe", b"[log]\nlevel = 3\n", None])
    def test_damaged_settings_are_left_out_and_come_back_with_the_stick(
        self, publisher: Publisher, box: SealedBox, damage: bytes | None
    ) -> None:
        set_level(publisher, "WARNING")
        stick = publisher.cut("one", ALL)
        box.apply(stick)
        path = box.layout.updates / "site.toml"
        path.unlink() if damage is None else path.write_bytes(damage)
        assert level(box) == "INFO"

        assert box.apply(stick).result == "HEALED"
        assert level(box) == "WARNING"


def test_a_lost_provisioning_file_does_not_unseal_the_box(
    publisher: Publisher, box: SealedBox, tmp_path: Path
) -> None:
    box.apply(publisher.stick(1))
    box.layout.identity.unlink()

    with box.box() as opened, pytest.raises(Unsupported, match="sealed"):
        opened.registry.add(read_package(write_model(tmp_path, 9)), check=reject)
    refused = box.apply(publisher.stick(2))
    assert (refused.result, box.desired()) == ("STATE_DAMAGED", ONE)
    assert "appliance provision" in refused.hint
    box.seal(publisher.root)
    assert box.apply(publisher.stick(3)).code == 0


def test_lost_trust_hinders_no_rollback(publisher: Publisher, box: SealedBox) -> None:
    box.apply(publisher.stick(1))
    box.apply(publisher.stick(2))
    for name in ("floor.a", "floor.b"):
        (box.layout.trust / name).unlink()

    assert box.apply(publisher.stick(3)).result == "STATE_DAMAGED"
    assert box.roll_back().code == 0
    assert box.desired() == ONE


def test_a_file_of_the_clock_that_cannot_be_read_lowers_the_floor_and_no_more(
    publisher: Publisher, box: SealedBox
) -> None:
    box.apply(publisher.stick(1))
    path = box.layout.updates / "clock.json"
    path.unlink()
    path.mkdir()

    with contextlib.suppress(Exception), box.box() as opened:
        assert not opened.clock.judge().suspect


def test_an_open_rollback_of_a_ticket_that_nobody_knows_is_closed(publisher: Publisher, box: SealedBox) -> None:
    box.apply(publisher.stick(1))
    with box.box() as opened:
        opened.journal.write(OpenUpdate(stage="ROLL_BACK", ticket_id="t9", ticket_digest="sha256:" + "0" * 64, seq=9))

    assert box.apply(publisher.stick(2)).code == 0
    with box.box() as opened:
        assert opened.journal.read() is None


def test_one_version_by_two_publishers_is_refused_before_anything_changes(
    publisher: Publisher, box: SealedBox
) -> None:
    publisher.add(write_model(publisher.directory / "a", 1))
    with publisher.opened() as station:
        add_publisher(station, "rival")
        add_model(station, write_model(publisher.directory / "b", 1, weights=b"other"), "rival", silent)

    refused = box.apply(publisher.cut("both", ALL))
    assert refused.result == "PRECONDITION"
    assert len(refused.facts["items"]) == 2  # type: ignore[arg-type]
    with box.box() as opened:
        assert opened.journal.read() is None


def test_a_second_update_is_told_that_one_goes_on(publisher: Publisher, box: SealedBox) -> None:
    request = ApplyRequest(publisher.stick(1))
    told: list[Any] = []

    async def both(works: UpdateWorks) -> AsyncIterator[UpdateProgress | UpdateOutcome]:
        first = aiter(works.apply(request))
        yield await anext(first)
        told.extend([event async for event in works.apply(request)])
        async for event in first:
            yield event

    outcome = offline_updates.run_offline(box.settings, both, lambda _: None)
    assert outcome.code == 0
    assert [(event.code, event.result) for event in told] == [(31, "BUSY")]
