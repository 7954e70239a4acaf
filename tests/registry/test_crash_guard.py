"""Versions that were executing when a process ended: counted by the kernel's time, forgiven by an operator."""

import pytest

from appliance.model.identity import ModelName, ModelVersion
from appliance.registry.crashes import MOST_CRASHES, WITHIN_S, too_many
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.package import read_package
from appliance.registry.records import Crash, Suspect
from appliance.state_layout import StateLayout
from tests.registry.packages import SIGNATURE, write_package

DIGITS, FACES, ONE = ModelName("digits"), ModelName("faces"), ModelVersion(1)


def crash(uptime_s, boot="b"):
    return Crash("p", boot, uptime_s, 0.0, hung=False)


@pytest.mark.parametrize(
    ("crashes", "refused"),
    [
        ([], False),
        ([crash(0), crash(1)], False),
        ([crash(0), crash(1), crash(WITHIN_S)], True),
        ([crash(0), crash(1), crash(WITHIN_S + 1)], False),
        ([crash(0), crash(10), crash(5000), crash(5001), crash(5002)], True),
        ([crash(0), crash(10), crash(5000), crash(5001), crash(9000)], False),
        ([crash(0), crash(1), crash(2, "another"), crash(3, "another")], False),
        ([crash(0), crash(1), crash(2), crash(50000)], True),
    ],
)
def test_three_within_an_hour_of_one_start_of_the_machine_are_too_many(crashes, refused):
    assert MOST_CRASHES == 3
    assert too_many(crashes) is refused


@pytest.fixture
def registry(tmp_path):
    with ModelRegistry.open(StateLayout(tmp_path / "state"), clock=lambda: 1000.0) as opened:
        for name in (DIGITS, FACES):
            opened.add(read_package(write_package(tmp_path / name)), check=lambda file, config: SIGNATURE)
            opened.activate(name, ONE)
        yield opened


def write_down(registry, process, *names, uptime_s=0.0, digest=None):
    suspects = [
        Suspect(process, name, ONE, digest or registry.version(name, ONE).digest, hung=False) for name in names
    ]
    registry.crash_guard.write_down(suspects, "boot", uptime_s)


def refusal(registry, name=DIGITS):
    return registry.crash_guard.refusal(name, ONE, 2)


def test_the_third_crash_refuses_the_version_and_no_other_with_the_next_command(registry):
    for number in range(3):
        assert refusal(registry) == ""
        write_down(registry, f"p{number}", DIGITS, uptime_s=60.0 * number)

    assert refusal(registry) == (
        "version 1 of 'digits' was executing when the process ended, 3 times within an hour "
        "(to try again: appliance models activate digits 1)"
    )
    assert refusal(registry, FACES) == ""


def test_all_who_were_executing_are_suspects_and_each_is_told_of_the_other(registry):
    for number in range(3):
        write_down(registry, f"p{number}", DIGITS, FACES)

    assert "beside faces version 1: which of them ended it is not known" in refusal(registry)
    assert "beside digits version 1: which of them ended it is not known" in refusal(registry, FACES)


def test_an_end_that_is_written_down_again_counts_once(registry):
    for _ in range(5):
        write_down(registry, "p", DIGITS)

    (crashed,) = registry.crash_guard.crashed()
    assert len(crashed.crashes) == 1


def test_an_operator_who_activates_the_version_again_lifts_it_and_counting_begins_anew(registry):
    for number in range(3):
        write_down(registry, f"p{number}", DIGITS)
    registry.activate(DIGITS, ONE)
    assert refusal(registry) == ""
    assert registry.crash_guard.crashed() == []

    for number in range(3, 5):
        write_down(registry, f"p{number}", DIGITS)
    assert refusal(registry) == ""


def test_crashes_under_software_that_fell_back_are_forgiven_with_the_loads(registry):
    for number in range(3):
        write_down(registry, f"p{number}", DIGITS)
    registry.crash_guard.load_started(FACES, ONE)
    registry.crash_guard.forgive_all()

    assert refusal(registry) == ""
    assert registry.crash_guard.refusal(FACES, ONE, 1) == ""


def test_other_content_under_the_same_number_is_not_blamed(registry):
    write_down(registry, "p", DIGITS, digest="sha256:" + "0" * 64)

    assert registry.crash_guard.crashed() == []


def test_a_version_that_is_removed_takes_its_crashes_along(registry):
    write_down(registry, "p", DIGITS)
    registry.deactivate(DIGITS)
    registry.remove(DIGITS, ONE)

    assert registry.crash_guard.crashed() == []


def test_rare_crashes_do_not_fill_the_registry(registry):
    for number in range(100):
        write_down(registry, f"p{number}", DIGITS, uptime_s=number * WITHIN_S)

    (crashed,) = registry.crash_guard.crashed()
    assert [each.process for each in crashed.crashes] == [f"p{number}" for number in range(80, 100)]
    assert not crashed.refused
