"""What a machine tells of itself: a Jetson, a server, a virtual machine that tells almost nothing."""

import threading
from pathlib import Path

import pytest

from appliance.hardware.hardware import Part, PowerRail, Temperature, Throttle, ThrottleCount, ThrottleReason
from appliance.hardware.nvml import Nvml
from appliance.hardware.reader import HardwareReader, read_within
from tests.hardware.machines import BARE_VM, ORIN, SERVER, make_machine
from tests.hardware.stand_in_nvml import L4, StandInNvml

HEAT, SUPPLY = ThrottleReason.HEAT, ThrottleReason.POWER_SUPPLY


def reader(tmp_path: Path, files: dict[str, str], nvml: StandInNvml | None = None) -> HardwareReader:
    root = make_machine(tmp_path / "root", files)
    return HardwareReader(tmp_path, root, lambda: Nvml.open(nvml) if nvml is not None else None)


def test_a_jetson_tells_board_power_mode_and_every_sensor_that_is_switched_on(tmp_path) -> None:
    hardware = reader(tmp_path, ORIN).read()

    assert hardware.board == "NVIDIA Jetson AGX Orin Developer Kit"
    assert hardware.jetson_linux == "38.2.0"
    assert hardware.power_mode == "MODE_30W"
    assert hardware.processor is None
    assert hardware.processor_count == 8
    assert hardware.memory.available_bytes == 58720256 * 1024
    assert hardware.temperatures == (
        Temperature("cpu", Part.CPU, 52.875, 104.5),
        Temperature("gpu", Part.GPU, 48.5),
        Temperature("tj", Part.BOARD, 53.093),
    )
    assert hardware.power_rails == (PowerRail("VDD_GPU_SOC", 19856 * 200 / 1e6),)


def test_a_jetson_tells_what_slows_it_down_and_what_has(tmp_path) -> None:
    hardware = reader(tmp_path, ORIN).read()

    assert hardware.throttling == (Throttle("GPU", HEAT),)
    assert hardware.throttle_counts == (
        ThrottleCount(Throttle("GPU", HEAT), 4),
        ThrottleCount(Throttle("under-voltage", SUPPLY), 0),
        ThrottleCount(Throttle("momentary over-current", SUPPLY), 27390),
    )


def test_a_jetson_without_nvml_still_tells_clock_and_load_of_its_gpu(tmp_path) -> None:
    (gpu,) = reader(tmp_path, ORIN).read().gpus

    assert (gpu.clock_hz, gpu.clock_max_hz, gpu.load) == (306_000_000, 1_300_500_000, 0.427)
    assert (gpu.celsius, gpu.watts, gpu.memory_used_bytes) == (None, None, None)


def test_what_nvml_does_not_support_on_a_jetson_comes_from_the_kernel(tmp_path) -> None:
    (gpu,) = reader(tmp_path, ORIN, StandInNvml({"nvmlDeviceGetName": "Orin (nvgpu)"})).read().gpus

    assert gpu.name == "Orin (nvgpu)"
    assert gpu.load == 0.427
    assert gpu.celsius is None


def test_a_server_tells_of_processors_disks_and_power(tmp_path) -> None:
    hardware = reader(tmp_path, SERVER).read()

    assert hardware.board == "Supermicro SYS-521GE-TNRT"
    assert hardware.processor == "Intel(R) Xeon(R) Gold 6430"
    assert hardware.processor_count == 64
    assert hardware.power_mode == "performance"
    assert hardware.throttling == ()
    assert hardware.throttle_counts == (ThrottleCount(Throttle("CPU", HEAT), 7),)
    assert Temperature("coretemp Package id 0", Part.CPU, 61.0, 100.0) in hardware.temperatures
    assert Temperature("nvme Composite", Part.DISK, 38.85) in hardware.temperatures
    assert hardware.power_rails == (PowerRail("power_meter power1", 412.0),)


def test_a_server_gpu_tells_everything_that_nvml_supports(tmp_path) -> None:
    (gpu,) = reader(tmp_path, SERVER, StandInNvml(L4)).read().gpus

    assert gpu.name == "NVIDIA L4"
    assert gpu.uuid == L4["nvmlDeviceGetUUID"]
    assert (gpu.celsius, gpu.slowdown_celsius) == (71, 95)
    assert (gpu.memory_used_bytes, gpu.memory_total_bytes) == (4_000, 24_000)
    assert (gpu.load, gpu.watts, gpu.watts_limit) == (0.87, 65.25, 72)
    assert (gpu.clock_hz, gpu.clock_max_hz, gpu.performance_state) == (1_410_000_000, 2_040_000_000, 0)
    assert (gpu.uncorrected_memory_errors, gpu.heat_throttled_s) == (0, 2.5)
    assert gpu.throttling == ()


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0x0, ()),
        (0x4, ("POWER_LIMIT",)),
        (0x8, ("OTHER",)),
        (0x8 | 0x40, ("HEAT",)),
        (0x20, ("HEAT",)),
        (0x4 | 0x8 | 0x80, ("POWER_LIMIT", "POWER_SUPPLY")),
        (0x1 | 0x2 | 0x10 | 0x100, ()),
    ],
)
def test_the_reasons_of_a_gpu_are_told_in_words(tmp_path, bits: int, reasons: tuple[str, ...]) -> None:
    gpu = L4 | {"nvmlDeviceGetCurrentClocksEventReasons": bits}

    hardware = reader(tmp_path, BARE_VM, StandInNvml(gpu)).read()

    assert hardware.throttling == tuple(Throttle("GPU", ThrottleReason(reason)) for reason in reasons)


def test_an_older_driver_is_asked_by_the_older_name(tmp_path) -> None:
    nvml = StandInNvml(L4 | {"nvmlDeviceGetCurrentClocksThrottleReasons": 0x20})
    nvml.unknown = {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetViolationStatus"}

    hardware = reader(tmp_path, BARE_VM, nvml).read()

    assert hardware.throttling == (Throttle("GPU", HEAT),)
    assert hardware.gpus[0].heat_throttled_s is None


def test_of_several_gpus_the_slow_one_has_its_number(tmp_path) -> None:
    nvml = StandInNvml(L4, L4 | {"nvmlDeviceGetCurrentClocksEventReasons": 0x40})

    assert reader(tmp_path, BARE_VM, nvml).read().throttling == (Throttle("GPU 1", HEAT),)


@pytest.mark.parametrize("gpu", [{"lost": 15}, L4 | {"nvmlDeviceGetTemperature": -15}], ids=["handle", "call"])
def test_a_gpu_that_is_lost_has_no_numbers_but_a_problem(tmp_path, gpu) -> None:
    (state,) = reader(tmp_path, BARE_VM, StandInNvml(gpu)).read().gpus

    assert "lost" in state.problem
    assert (state.celsius, state.memory_total_bytes, state.load) == (None, None, None)


def test_a_driver_that_comes_later_is_found_later_and_opened_once(tmp_path) -> None:
    nvml = StandInNvml(L4, init_code=9)
    own = reader(tmp_path, BARE_VM, nvml)

    before = own.read().gpus
    nvml.init_code = 0
    own.read()
    after = own.read().gpus

    assert before == ()
    assert [gpu.name for gpu in after] == ["NVIDIA L4"]
    assert nvml.opened == 1
    own.close()
    assert nvml.opened == 0


def test_a_bare_virtual_machine_tells_nothing_and_no_zeros(tmp_path) -> None:
    hardware = reader(tmp_path, BARE_VM).read()

    assert hardware.board is None
    assert hardware.power_mode is None
    assert hardware.processor_count is None
    assert hardware.memory.swap_total_bytes is None
    assert (hardware.temperatures, hardware.power_rails, hardware.gpus) == ((), (), ())
    assert (hardware.throttling, hardware.throttle_counts) == (None, ())


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("proc/meminfo", "garbage\n"),
        ("sys/devices/system/cpu/online", "many"),
        ("sys/class/thermal/thermal_zone0/temp", "hot"),
        ("sys/class/thermal/thermal_zone0/temp", ""),
        ("var/lib/nvpmodel/status", "\xff\xfe"),
        ("sys/class/hwmon/hwmon1/curr1_input", "9" * 5000),
    ],
)
def test_a_file_with_something_else_in_it_is_no_fact_and_no_failure(tmp_path, path: str, text: str) -> None:
    whole = reader(tmp_path, ORIN).read()
    (tmp_path / "root" / path).write_bytes(text.encode("latin-1"))

    damaged = reader(tmp_path, {}).read()

    assert damaged != whole
    assert damaged.board == whole.board


def test_a_power_mode_that_the_table_does_not_name_keeps_its_number(tmp_path) -> None:
    files = ORIN | {"var/lib/nvpmodel/status": "pmode:0000 fmode:quiet"}
    files["etc/nvpmodel.conf"] = ""

    assert reader(tmp_path, files).read().power_mode == "mode 0"


def test_this_machine_can_be_read(tmp_path) -> None:
    hardware = HardwareReader(tmp_path).read()

    assert hardware.memory.available_bytes
    assert hardware.disk is not None
    assert 0 < hardware.disk.free_bytes <= hardware.disk.total_bytes
    assert not hardware.disk.read_only


def test_a_driver_that_hangs_keeps_nobody_waiting(tmp_path) -> None:
    release = threading.Event()

    def hang() -> None:
        release.wait(30)

    stuck = HardwareReader(tmp_path, make_machine(tmp_path / "root", BARE_VM), hang)

    assert read_within(stuck, 0.05) is None
    release.set()
