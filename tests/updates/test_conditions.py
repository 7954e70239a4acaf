"""What stands in the audit log beside an activation, and what can be said of a box while nothing runs."""

from appliance.cli.audited import write_activation
from appliance.cli.status_from_disk import status_from_disk
from appliance.cli.status_screen import status_facts
from appliance.errors import Busy
from appliance.registry.model_registry import ModelRegistry
from appliance.updates.activation import Activation
from appliance.updates.box import Box
from tests.updates.boxes import KEEPS, Publisher, SealedBox


def test_an_installed_update_is_written_down_with_the_conditions_of_the_machine(
    publisher: Publisher, box: SealedBox
) -> None:
    box.apply(publisher.stick(1))
    before = box.audit().entries()[-1]

    with ModelRegistry.open(box.layout) as registry:
        slow = {"power_mode": "MODE_15W", "throttling": "GPU: heat"}
        hot = Box.of(box.settings, registry, has_gpu=lambda: False, now=box.now, conditions=lambda: slow)
        Activation(hot, None).confirmed(hot.tickets()[0])  # type: ignore[arg-type]  # nobody is asked any more

    after = box.audit().entries()[-1]
    assert after.event == "update_installed"
    assert dict(after.facts) == {**before.facts, **slow}
    assert after.facts["seq"] == 1


def test_an_activation_by_hand_is_written_down_on_a_sealed_box_only(box: SealedBox, tmp_path) -> None:
    facts = {"model": "digits", "version": 2, "alias": "serving"}
    unsealed = SealedBox(tmp_path / "unsealed")

    write_activation(box.layout, dict(facts))
    write_activation(unsealed.layout, dict(facts))

    entry = box.audit().entries()[-1]
    assert entry.event == "model_activated"
    assert facts.items() <= dict(entry.facts).items()
    assert unsealed.events() == []
    unsealed.close()


def test_without_a_daemon_owner_and_last_update_are_known_from_the_disk(publisher: Publisher, box: SealedBox) -> None:
    fresh = status_from_disk(box.settings)
    outcome = box.apply(publisher.stick(1))

    answer = status_from_disk(box.settings)
    lines = dict(status_facts(answer, Busy("no daemon answers")))

    assert dict(status_facts(fresh, Busy("no daemon answers")))["last update"] == "none yet"
    assert lines["sealed"].startswith(answer.device.serial)
    assert lines["trusts"].startswith("root 1, fingerprint ")
    assert lines["last update"] == f"ticket {outcome.ticket_id} (1), today"
    assert [(model.name, model.version, model.state) for model in answer.models] == [(KEEPS, "1", "UNAVAILABLE")]
    assert list(answer.problems) == []


def test_without_a_daemon_a_damaged_device_is_a_problem_and_no_unsealed_box(box: SealedBox) -> None:
    box.layout.identity.unlink()
    box.layout.trust.mkdir(exist_ok=True)
    (box.layout.trust / "current").touch()

    answer = status_from_disk(box.settings)

    assert any("provisioning file" in problem for problem in answer.problems)
    assert "sealed" not in dict(status_facts(answer, Busy("no daemon answers")))
