"""What happens to a machine over time."""

from dataclasses import replace

from appliance.hardware.conditions import conditions
from appliance.hardware.hardware import (
    GpuState,
    Hardware,
    Part,
    Temperature,
    Throttle,
    ThrottleCount,
    ThrottleReason,
)
from appliance.hardware.history import QUIET_S, HardwareChange, HardwareEvent, HardwareHistory

HOT = Throttle("GPU", ThrottleReason.HEAT)
LIMITED = Throttle("GPU", ThrottleReason.POWER_LIMIT)
COOL = Hardware(power_mode="MAXN")
SLOW = replace(COOL, throttling=(HOT,))
BEGAN = HardwareChange(HardwareEvent.THROTTLING_BEGAN, "GPU: heat")


def test_an_episode_begins_once_and_ends_after_a_quiet_while() -> None:
    history = HardwareHistory(power_mode="MAXN")

    assert history.observe(COOL, 0) == []
    assert history.observe(SLOW, 10) == [BEGAN]
    assert history.observe(SLOW, 20) == []
    assert history.observe(COOL, 30) == []
    assert history.observe(SLOW, 40) == []
    assert history.observe(COOL, 40 + QUIET_S) == [
        HardwareChange(HardwareEvent.THROTTLING_ENDED, "GPU: heat", lasted_s=30)
    ]
    assert history.throttle_episodes == 1
    assert history.last_throttled_s == 40


def test_a_limit_that_the_owner_set_is_no_episode() -> None:
    history = HardwareHistory(power_mode="MAXN")

    assert history.observe(replace(COOL, throttling=(LIMITED,)), 0) == []
    assert history.throttle_episodes == 0


def test_what_happened_between_two_readings_is_known_from_the_counters() -> None:
    history = HardwareHistory(power_mode="MAXN")
    counted = [replace(COOL, throttle_counts=(ThrottleCount(HOT, count),)) for count in (5, 5, 6)]

    assert [history.observe(each, now_s) for now_s, each in enumerate(counted)] == [[], [], [BEGAN]]


def test_seconds_of_heat_that_a_gpu_counts_are_an_episode() -> None:
    history = HardwareHistory()
    counted = [Hardware(gpus=(GpuState("L4", heat_throttled_s=seconds),)) for seconds in (9.0, 9.5)]

    assert [history.observe(each, now_s) for now_s, each in enumerate(counted)] == [[], [BEGAN]]


def test_another_power_mode_is_told_and_one_that_cannot_be_read_is_none() -> None:
    history = HardwareHistory()

    modes = ["MAXN", None, "MAXN", "MODE_15W"]
    told = [history.observe(Hardware(power_mode=mode), now_s) for now_s, mode in enumerate(modes)]

    found = HardwareChange(HardwareEvent.POWER_MODE_FOUND, "MAXN")
    assert told == [[found], [], [], [HardwareChange(HardwareEvent.POWER_MODE_CHANGED, "MAXN to MODE_15W")]]


def test_the_hottest_sensor_is_remembered() -> None:
    history = HardwareHistory()

    for now_s, celsius in enumerate((50.0, 80.0, 60.0)):
        history.observe(Hardware(temperatures=(Temperature("cpu", Part.CPU, celsius),)), now_s)

    assert history.hottest == Temperature("cpu", Part.CPU, 80.0)


def test_the_conditions_of_an_activation_are_only_what_is_known() -> None:
    warm = replace(SLOW, temperatures=(Temperature("cpu", Part.CPU, 71.4),))

    assert conditions(warm) == {"power_mode": "MAXN", "throttling": "GPU: heat", "hottest_celsius": 71}
    assert conditions(Hardware()) == {}
    assert conditions(None) == {}
