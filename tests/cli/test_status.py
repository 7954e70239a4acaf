"""`appliance status`."""

import signal
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from appliance import RELEASED
from appliance.cli.hardware_lines import disk_text
from appliance.cli.output import print_facts
from appliance.cli.status_screen import days_since_s, status_facts
from appliance.errors import Busy
from appliance.hardware.hardware import Hardware
from appliance.hardware.nvml import Nvml
from appliance.hardware.reader import HardwareReader
from appliance.hardware.watch import WatchedHardware
from appliance.rpc.box_state import BoxState, add_box
from appliance.rpc.hardware_message import hardware_message
from appliance.rpc.pb import appliance_admin_pb2 as pb
from appliance.slots.record import Fallback, Slot, SlotName, SlotRecord, Trial
from appliance.slots.store import SlotStore
from appliance.updates.box import utc_now
from appliance.updates.update_clock import UpdateClock
from tests.cli.conftest import write_package
from tests.cli.terminal import WIDTH, Terminal
from tests.hardware.machines import BARE_VM, ORIN, SERVER, make_machine
from tests.hardware.stand_in_nvml import L4, StandInNvml

SCREEN_LINES = 24
DAY_S = 86400
RECORD = SlotRecord(
    current=SlotName.A,
    slots={SlotName.A: Slot(tree="a" * 64, version="0.2.0"), SlotName.B: Slot(tree="b" * 64, version="0.1.0")},
)


def answer(hardware: Hardware | None = None) -> pb.StatusResponse:
    """A sealed box that serves."""
    message = pb.StatusResponse(
        product_version="0.2.0", pid=812, state="READY", uptime_s=3600, transport="grpcio", rss_bytes=1 << 30
    )
    message.model_source.registry_path = "/var/lib/appliance"
    message.listeners.extend(["0.0.0.0:8001", "unix:/run/appliance/appliance.sock"])
    message.device.serial, message.device.hardware, message.device.site = "SN-0042", "jetson-agx-orin", "Lyon"
    message.device.root_version, message.device.root_fingerprint = 1, "c" * 64
    message.device.ticket_seq, message.device.ticket_id = 12, "lyon-2026-12"
    message.clock.clock_unix_s, message.clock.floor_unix_s = 1_800_000_000, 1_799_990_000
    message.device.ticket_finished_unix_s = 1_800_000_000 - 34 * DAY_S
    if hardware is not None:
        message.hardware.CopyFrom(hardware_message(WatchedHardware(hardware, 1.0, 3600.0, None, 2, 65.0)))
    return message


def screen(message: pb.StatusResponse, capsys: pytest.CaptureFixture[str]) -> str:
    print_facts(status_facts(message, None))
    return capsys.readouterr().out


def test_without_a_daemon_it_ends_with_three_and_says_how_to_start_one(terminal: Terminal) -> None:
    result = terminal.appliance("status", code=3)

    assert "UNREACHABLE" in result.out
    assert "it is not running" in result.story
    assert f"appliance serve --state {terminal.state}" in result.story


@pytest.mark.slow
def test_without_a_daemon_the_disk_and_the_machine_are_shown(terminal: Terminal, tmp_path) -> None:
    package = write_package(tmp_path / "m", 'backend = "reference"\nmax_batch_size = 0\n' + _ONE_TENSOR)
    terminal.appliance("models", "add", package)
    terminal.appliance("models", "activate", "m", "1")
    SlotStore(terminal.state / "slots").write(RECORD)

    result = terminal.appliance("status", code=3)
    document = terminal.appliance("status", "--json", code=3).json

    assert "slot A is next (B: 0.1.0)" in " ".join(result.out.split())
    assert "GiB available" in result.out
    assert "UNAVAILABLE" in result.out
    assert result.widest <= WIDTH
    assert document["state"] == "UNREACHABLE"
    assert "it is not running" in document["reason"]
    assert document["models"][0]["name"] == "m"
    assert document["hardware"]["disk"]["free_bytes"] > 0
    assert document["slots"]["current"] == "A"
    assert "pid" not in document
    assert "uptime_s" not in document


@pytest.mark.slow
def test_without_a_daemon_what_is_damaged_is_named_and_the_rest_is_shown(terminal: Terminal) -> None:
    (terminal.state / "registry.db").write_bytes(b"not a database" * 1000)
    (terminal.state / "slots").mkdir()
    (terminal.state / "slots" / "record.a").write_bytes(b"{}\nnot a digest\n")

    document = terminal.appliance("status", "--json", code=3).json
    result = terminal.appliance("status", code=3)

    assert any("registry" in problem for problem in document["problems"])
    assert any("record of the software slots is damaged" in problem for problem in document["problems"])
    assert "slots" not in document
    assert document["hardware"]["memory_total_bytes"] > 0
    assert "problem" in result.out
    assert "no models" not in result.out, "nobody knows"
    assert result.widest <= WIDTH


@pytest.mark.slow
def test_a_clock_before_what_is_known_is_called_wrong(terminal: Terminal) -> None:
    clock = UpdateClock(terminal.state / "updates" / "clock.json", utc_now, RELEASED)
    clock.accepted(utc_now() + timedelta(days=400))

    result = terminal.appliance("status", code=3)

    assert "WRONG: it is certainly not before" in " ".join(result.out.split())


def test_one_screen_shows_where_models_come_from_and_how_each_stands(serving: Terminal) -> None:
    result = serving.appliance("status")

    assert "unsealed, for development" in " ".join(result.out.split())
    assert "READY" in result.out
    assert f"unix:{serving.state}/run/appliance.sock" in result.out
    assert result.widest <= WIDTH


@pytest.mark.slow
def test_the_daemon_tells_of_its_machine(serving: Terminal) -> None:
    deadline_s = time.monotonic() + 20
    while "hardware" not in (document := serving.appliance("status", "--json").json):
        assert time.monotonic() < deadline_s, "the daemon never read its machine"

    assert document["hardware"]["memory_available_bytes"] > 0
    assert document["hardware"]["disk"]["total_bytes"] > 0
    assert document["hardware"]["history"]["watched_s"] >= 0
    assert document["clock"]["suspect"] is False
    assert "slots" not in document
    assert document["problems"] == []


def test_a_model_that_is_not_served_is_shown_with_its_reason(serving: Terminal) -> None:
    result = serving.appliance("status")

    assert "broken version 1 UNAVAILABLE: " in result.out
    assert "backend 'nonesuch' is not supported" in " ".join(result.out.split())


def test_as_json_numbers_are_numbers(serving: Terminal) -> None:
    answer = serving.appliance("status", "--json").json

    assert answer["state"] == "READY"
    assert answer["rss_bytes"] > 0
    digits = next(model for model in answer["models"] if model["name"] == "digits")
    assert digits["state"] == "READY"
    assert isinstance(digits["inference_count"], int)
    assert answer["settings"]["models_directory"] == str(serving.models)


def test_a_socket_that_a_killed_daemon_left_is_told_from_a_daemon(terminal: Terminal) -> None:
    with terminal.daemon("--models", terminal.models) as daemon:
        daemon.kill()
        daemon.wait()

    assert "connection refused" in terminal.appliance("status", code=3).story


@pytest.mark.slow
def test_a_daemon_that_hangs_is_told_after_a_while_with_what_the_disk_knows(terminal: Terminal) -> None:
    with terminal.daemon("--models", terminal.models) as daemon:
        daemon.send_signal(signal.SIGSTOP)
        try:
            result = terminal.appliance("status", code=3)
        finally:
            daemon.send_signal(signal.SIGCONT)

    assert "did not answer within 10 s" in " ".join(result.out.split())
    assert "GiB available" in result.out
    assert "systemctl restart appliance" in result.story


def test_a_path_that_is_too_long_for_a_socket_is_named(terminal: Terminal) -> None:
    deep = terminal.state / ("d" * 120)

    result = Terminal(deep).appliance("status", code=3)

    assert "too many for a Unix socket" in result.story
    assert not deep.exists()


@pytest.mark.parametrize("files", [ORIN, SERVER, BARE_VM], ids=["orin", "server", "vm"])
def test_a_sealed_box_with_slots_fits_on_one_screen(files, tmp_path, capsys) -> None:
    reader = HardwareReader(tmp_path, make_machine(tmp_path / "root", files), lambda: Nvml.open(StandInNvml(L4)))
    message = answer(reader.read())
    message.slots.current = message.slots.running = "A"
    message.slots.slots.add(name="A", version="0.2.0")
    message.slots.slots.add(name="B", version="0.1.0")

    lines = screen(message, capsys).splitlines()

    assert max(map(len, lines)) <= WIDTH
    assert len(lines) <= SCREEN_LINES - 5  # room for a blank line and three models
    assert all(line.isascii() for line in lines)
    assert "from slot A (B: 0.1.0)" in " ".join(lines)


def test_an_orin_shows_temperatures_power_mode_wear_and_what_slows_it_down(tmp_path, capsys) -> None:
    reader = HardwareReader(tmp_path, make_machine(tmp_path / "root", ORIN), lambda: None)

    text = " ".join(screen(answer(reader.read()), capsys).split())

    assert "temperature CPU 53, GPU 48, BOARD 53 C" in text
    assert "slowed down NOW by GPU: heat; 2 times since the daemon started, last 1 min 5 s ago" in text
    assert "power mode MODE_30W, 4.0 W" in text
    assert "43% busy, 306 of 1300 MHz" in text
    assert "last update ticket lyon-2026-12 (12), 34 d ago" in text
    assert "clock 2027-01-15 08:00 UTC, trusted" in text


def test_a_machine_that_tells_nothing_has_no_lines_of_zeros(tmp_path, capsys) -> None:
    reader = HardwareReader(tmp_path, make_machine(tmp_path / "root", BARE_VM), lambda: None)

    message = answer(replace(reader.read(), disk=None))
    message.hardware.history.ClearField("throttle_episodes")
    names = [name for name, _ in status_facts(message, None)]

    assert [name for name in ("gpu", "temperature", "slowed down", "power mode", "disk") if name in names] == []
    assert "memory" in names


def test_worn_or_read_only_disks_are_said_loudly() -> None:
    disk = pb.DiskStatus(total_bytes=1 << 30, free_bytes=1 << 20, read_only=True, wear=1.1, end_of_life="URGENT")

    assert disk_text(disk) == "1.0 MiB of 1.0 GiB free, READ ONLY, up to 110% of its life used, URGENT: replace it"


def test_a_trial_and_a_fallback_are_shown_with_their_reason(capsys) -> None:
    record = replace(
        RECORD,
        trial=Trial(SlotName.B, left=2, ticket="t"),
        fallback=Fallback(SlotName.B, "0.3.0", "t", "it never became READY"),
    ).with_slot(SlotName.B, Slot(tree="b" * 64, version="0.4.0", problem="its files changed"))
    message = answer()
    add_box(message, BoxState(slots=record, running=SlotName.B))

    text = " ".join(screen(message, capsys).split())

    assert "from slot B (A: 0.2.0)" in text
    assert "on trial slot B, 2 more starts to prove itself" in text
    assert "fell back from version 0.3.0: it never became READY" in text
    assert "slot B is not started any more: its files changed" in text


def test_days_are_not_counted_by_a_clock_that_is_wrong() -> None:
    early, suspect = answer(), answer()
    early.clock.clock_unix_s = early.device.ticket_finished_unix_s - 1
    suspect.clock.suspect = True

    assert days_since_s(answer()) == 34 * DAY_S
    assert days_since_s(early) is None
    assert days_since_s(suspect) is None


def test_a_clock_far_ahead_of_what_is_known_is_called_doubtful(capsys) -> None:
    message = answer()
    message.clock.clock_unix_s += 40 * 365 * DAY_S

    assert "DOUBTFUL: 2027-01-15 05:13 UTC was the last time known" in " ".join(screen(message, capsys).split())


def test_the_reason_why_no_daemon_answered_stands_in_the_first_line() -> None:
    facts = status_facts(pb.StatusResponse(state="UNREACHABLE"), Busy("no daemon answers at unix:/run/x"))

    assert facts[0] == ("state", "UNREACHABLE: no daemon answers at unix:/run/x")


_ONE_TENSOR = """
input = [{ name = "x", data_type = "TYPE_INT32", dims = [2] }]
output = [{ name = "y", data_type = "TYPE_INT32", dims = [2] }]
"""
