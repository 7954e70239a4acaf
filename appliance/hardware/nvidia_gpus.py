"""The GPUs of a machine as NVIDIA's management library tells of them."""

from appliance.hardware.hardware import GpuState, ThrottleReason
from appliance.hardware.nvml import GPU_IS_LOST, SUCCESS, Nvml, NvmlDevice

# Constants of nvml.h.
_CORE, _SLOWDOWN = 0, 1  # sensor and threshold of temperatures
_CLOCK_SM = 1
_UNCORRECTED, _SINCE_EVER = 1, 1  # memory errors
_POLICY_THERMAL = 1
_UNKNOWN_STATE = 32
_REASONS = (
    (0x4, ThrottleReason.POWER_LIMIT),
    (0x20 | 0x40, ThrottleReason.HEAT),
    (0x80, ThrottleReason.POWER_SUPPLY),
)
_HW_SLOWDOWN = 0x8  # by heat or by the power supply; newer GPUs say which
_MILLI, _MEGA, _NANO, _PER_CENT = 1000, 10**6, 10**9, 100


def read_nvidia_gpus(nvml: Nvml) -> tuple[GpuState, ...]:
    """Ask every GPU."""
    return tuple(_state(device) for device in nvml.devices())


def _state(device: NvmlDevice) -> GpuState:
    memory, utilization = device.memory(), device.utilization()
    violation = device.violation(_POLICY_THERMAL)
    performance = device.number("nvmlDeviceGetPerformanceState")
    state = GpuState(
        name=device.text("nvmlDeviceGetName") or f"GPU {device.index}",
        uuid=device.text("nvmlDeviceGetUUID"),
        celsius=_float(device.number("nvmlDeviceGetTemperature", _CORE), 1),
        slowdown_celsius=_float(device.number("nvmlDeviceGetTemperatureThreshold", _SLOWDOWN), 1),
        memory_total_bytes=memory.total if memory else None,
        memory_used_bytes=memory.used if memory else None,
        load=utilization.gpu / _PER_CENT if utilization else None,
        watts=_float(device.number("nvmlDeviceGetPowerUsage"), _MILLI),
        watts_limit=_float(device.number("nvmlDeviceGetEnforcedPowerLimit"), _MILLI),
        clock_hz=_times(device.number("nvmlDeviceGetClockInfo", _CLOCK_SM), _MEGA),
        clock_max_hz=_times(device.number("nvmlDeviceGetMaxClockInfo", _CLOCK_SM), _MEGA),
        performance_state=performance if performance != _UNKNOWN_STATE else None,
        uncorrected_memory_errors=device.long_number("nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _SINCE_EVER),
        heat_throttled_s=violation.violation / _NANO if violation else None,
        throttling=_throttling(device),
    )
    return state if device.code == SUCCESS else GpuState(state.name, state.uuid, problem=_problem(device.code))


def _throttling(device: NvmlDevice) -> tuple[ThrottleReason, ...] | None:
    bits = device.long_number("nvmlDeviceGetCurrentClocksEventReasons")
    if bits is None:
        bits = device.long_number("nvmlDeviceGetCurrentClocksThrottleReasons")  # before driver 535
    if bits is None:
        return None
    found = tuple(reason for mask, reason in _REASONS if bits & mask)
    if bits & _HW_SLOWDOWN and not any(reason.is_fault for reason in found):
        return (*found, ThrottleReason.OTHER)
    return found


def _problem(code: int | None) -> str:
    if code == GPU_IS_LOST:
        return "it fell off the bus: it is lost until the machine is started again"
    return f"the driver does not let it be used (NVML error {code})"


def _float(value: int | None, divisor: int) -> float | None:
    return None if value is None else value / divisor


def _times(value: int | None, factor: int) -> int | None:
    return None if value is None else value * factor
