"""`appliance device`: sensor by sensor, on the machine that these tests run on."""

from pathlib import Path

import pytest

from appliance.cli.hardware_metrics import box_families
from appliance.cli.prometheus_text import prometheus_text
from appliance.hardware.nvml import Nvml
from appliance.hardware.reader import HardwareReader
from appliance.hardware.watch import WatchedHardware
from appliance.rpc.hardware_message import hardware_message
from appliance.rpc.pb import appliance_admin_pb2 as pb
from tests.cli.terminal import WIDTH, Terminal
from tests.hardware.machines import BARE_VM, ORIN, make_machine
from tests.hardware.stand_in_nvml import L4, StandInNvml


def metrics_of(tmp_path: Path, files: dict[str, str], gpu: dict[str, object] | None) -> str:
    root = make_machine(tmp_path / "root", files)
    nvml = StandInNvml(gpu) if gpu else None
    hardware = HardwareReader(tmp_path, root, lambda: Nvml.open(nvml) if nvml else None).read()
    message = pb.StatusResponse()
    message.hardware.CopyFrom(hardware_message(WatchedHardware(hardware, 1.0, 60.0)))
    return prometheus_text(box_families(message))


@pytest.mark.slow
def test_it_needs_no_daemon_and_shows_what_there_is(terminal: Terminal) -> None:
    result = terminal.appliance("device")
    document = terminal.appliance("device", "--json").json

    assert "memory available" in result.out
    assert result.widest <= WIDTH
    assert result.out.isascii()
    assert document["memory_total_bytes"] > 0
    assert document["disk"]["total_bytes"] > 0
    assert "history" not in document


def test_a_machine_that_tells_much_has_many_metrics(tmp_path) -> None:
    text = metrics_of(tmp_path, ORIN, L4)

    assert 'appliance_temperature_celsius{sensor="cpu",part="CPU"} 52.875\n' in text
    assert 'appliance_throttled{part="GPU",reason="HEAT"} 1\n' in text
    assert 'appliance_throttle_events_total{part="momentary over-current",reason="POWER_SUPPLY"} 27390\n' in text
    assert 'appliance_power_mode_info{mode="MODE_30W"} 1\n' in text
    labels = f'{{gpu="{L4["nvmlDeviceGetUUID"]}",name="NVIDIA L4"}}'
    assert f"appliance_gpu_celsius{labels} 71\n" in text
    assert f"appliance_gpu_memory_errors_total{labels} 0\n" in text
    assert f"appliance_gpu_answers{labels} 1\n" in text


def test_what_a_machine_does_not_tell_is_no_sample(tmp_path) -> None:
    text = metrics_of(tmp_path, BARE_VM, None)

    assert "appliance_memory_available_bytes 3221225472\n" in text
    for absent in ("celsius", "gpu", "power", "wear", "throttled", "events", "episodes"):
        assert absent not in text


def test_a_gpu_that_is_lost_does_not_answer_and_has_no_numbers(tmp_path) -> None:
    text = metrics_of(tmp_path, BARE_VM, {"lost": 15})

    assert 'appliance_gpu_answers{gpu="0",name="GPU 0"} 0\n' in text
    assert "appliance_gpu_celsius" not in text


def test_the_clock_the_last_update_and_the_slots_are_metrics() -> None:
    message = pb.StatusResponse()
    message.clock.suspect = True
    message.device.ticket_finished_unix_s = 1_790_000_000
    message.slots.current = message.slots.running = "B"
    message.slots.slots.add(name="A", version="0.1.0", problem="its files changed")
    message.slots.slots.add(name="B", version="0.2.0")

    text = prometheus_text(box_families(message))

    assert "appliance_clock_suspect 1\n" in text
    assert "appliance_last_update_timestamp_seconds 1790000000\n" in text
    assert 'appliance_slot_usable{slot="B",version="0.2.0",running="true"} 1\n' in text
    assert 'slot="A"' not in text
