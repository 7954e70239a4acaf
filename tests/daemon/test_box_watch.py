"""The daemon's watch over its machine: what is told, and to whom."""

import logging
import threading
from pathlib import Path

import pytest

from appliance.daemon.box_watch import OLD_S, BoxWatch, box_state
from appliance.hardware.hardware import Hardware, Throttle, ThrottleReason
from appliance.hardware.history import HardwareChange, HardwareEvent
from appliance.hardware.nvml import Nvml
from appliance.hardware.reader import HardwareReader
from appliance.hardware.watch import HardwareWatch
from appliance.state_layout import StateLayout
from appliance.updates.audit_log import AuditLog
from appliance.updates.box import utc_now
from appliance.updates.software_slots import SoftwareSlots
from tests.hardware.machines import ORIN, make_machine
from tests.hardware.stand_in_nvml import L4, StandInNvml

HOT = Hardware(power_mode="MAXN", throttling=(Throttle("GPU", ThrottleReason.HEAT),))
BEGAN = HardwareChange(HardwareEvent.THROTTLING_BEGAN, "GPU: heat")
ENDED = HardwareChange(HardwareEvent.THROTTLING_ENDED, "GPU: heat", 30.0)
CHANGED = HardwareChange(HardwareEvent.POWER_MODE_CHANGED, "MAXN to MODE_15W")
TIMEOUT_S = 20


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def sealed(tmp_path: Path) -> StateLayout:
    layout = StateLayout(tmp_path / "state")
    layout.device.mkdir(parents=True)
    layout.identity.write_text("{}")  # that it is there is what seals a box
    return layout


def audited(layout: StateLayout) -> list[tuple[str, dict[str, str | int]]]:
    return [(entry.event, dict(entry.facts)) for entry in AuditLog(layout.audit, utc_now).entries()]


def test_a_sealed_box_writes_down_what_slows_it_down_and_in_which_power_mode(sealed, caplog) -> None:
    watch = BoxWatch(sealed)

    with caplog.at_level(logging.INFO):
        for change in (BEGAN, ENDED, CHANGED):
            watch.tell(change, HOT)

    assert audited(sealed) == [
        ("throttling_began", {"what": "GPU: heat", "power_mode": "MAXN", "throttling": "GPU: heat"}),
        ("power_mode_changed", {"what": "MAXN to MODE_15W", "power_mode": "MAXN", "throttling": "GPU: heat"}),
    ]
    assert [record.message for record in caplog.records] == [
        "throttling began: GPU: heat",
        "throttling ended after 30 s: GPU: heat",
        "power mode changed: MAXN to MODE_15W",
    ]


def test_what_flaps_is_written_down_once_an_hour(sealed) -> None:
    clock = Clock()
    watch = BoxWatch(sealed, monotonic_s=clock)

    for now_s in (0.0, 60.0, 3599.0, 3600.0):
        clock.now_s = now_s
        watch.tell(BEGAN, HOT)

    assert len(audited(sealed)) == 2


def test_a_box_that_is_not_sealed_writes_nothing(tmp_path) -> None:
    layout = StateLayout(tmp_path / "state")

    BoxWatch(layout).tell(BEGAN, HOT)

    assert not layout.root.exists()


def test_a_full_or_lost_audit_log_is_said_in_the_journal_and_ends_nothing(sealed, caplog) -> None:
    sealed.audit.write_text("no directory")

    BoxWatch(sealed).tell(BEGAN, HOT)

    assert "throttling_began is missing in the audit log" in caplog.text


def test_the_watch_reads_again_and_tells_of_changes_on_its_thread(tmp_path) -> None:
    root, told, heard = make_machine(tmp_path / "root", ORIN), [], threading.Event()
    alert = root / "sys/class/thermal/cooling_device5/cur_state"
    alert.write_text("0\n")
    reader = HardwareReader(tmp_path, root, lambda: Nvml.open(StandInNvml(L4)))

    def tell(change: HardwareChange, hardware: Hardware) -> None:
        told.append((change, hardware.throttling))
        alert.write_text("1\n")
        if change == BEGAN:
            heard.set()

    watch = HardwareWatch(reader, tell, period_s=0.01)
    assert watch.latest() is None
    watch.start()
    assert heard.wait(TIMEOUT_S)
    watch.stop()

    latest = watch.latest()
    assert latest is not None
    assert latest.hardware.power_mode == "MODE_30W"
    assert told[1:] == [(BEGAN, (Throttle("GPU", ThrottleReason.HEAT),))]
    assert latest.throttle_episodes == 1


def test_a_driver_that_hangs_lets_the_daemon_answer_and_stop(tmp_path) -> None:
    root, release, asked = make_machine(tmp_path / "root", ORIN), threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        release.wait(TIMEOUT_S)

    clock = Clock()
    reader = HardwareReader(tmp_path, root, hang)
    watch = HardwareWatch(reader, lambda change, hardware: None, monotonic_s=clock, stop_within_s=0.05)
    watch.start()
    assert asked.wait(TIMEOUT_S)
    clock.now_s = 500.0

    watch.stop()

    assert watch.latest() is None
    assert watch.silent_s() == 500.0
    release.set()


def test_facts_that_grow_old_are_a_problem_with_a_remedy(tmp_path) -> None:
    layout = StateLayout(tmp_path)
    slots = SoftwareSlots.of(layout)

    assert box_state(layout, None, slots, silent_s=OLD_S).problems == ()
    (problem,) = box_state(layout, None, slots, silent_s=OLD_S + 1).problems
    assert "has not answered for 121 s" in problem
    assert "journalctl -k" in problem


def test_a_strange_machine_does_not_end_the_watch(tmp_path, caplog) -> None:
    again = threading.Event()
    asked: list[int] = []

    def strange() -> None:
        asked.append(1)
        if len(asked) > 1:
            again.set()
        raise RuntimeError("nobody expects this")

    reader = HardwareReader(tmp_path, make_machine(tmp_path / "root", ORIN), strange)
    watch = HardwareWatch(reader, lambda change, hardware: None, period_s=0.01)
    watch.start()

    assert again.wait(TIMEOUT_S)
    watch.stop()
    assert "the machine's facts cannot be read" in caplog.text
