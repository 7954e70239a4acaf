"""What is known of a machine at one moment. A value that it does not tell is None or missing, never 0."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Part(StrEnum):
    """What a sensor sits in."""

    CPU = "CPU"
    GPU = "GPU"
    DISK = "DISK"
    BOARD = "BOARD"


class ThrottleReason(StrEnum):
    """Why a part runs slower than it could."""

    HEAT = "HEAT"
    POWER_SUPPLY = "POWER_SUPPLY"  # under-voltage, over-current, the supply's own signal
    POWER_LIMIT = "POWER_LIMIT"  # the set limit: usual under load
    OTHER = "OTHER"  # the hardware does not say

    @property
    def is_fault(self) -> bool:
        """Whether somebody has to look at the cabinet."""
        return self is not ThrottleReason.POWER_LIMIT


@dataclass(frozen=True, slots=True)
class Temperature:
    """One sensor. critical_celsius: where the machine switches itself off."""

    sensor: str
    part: Part
    celsius: float
    critical_celsius: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """available_bytes: what could be had without swapping."""

    total_bytes: int | None = None
    available_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of the state directory. wear: share of its life that is used up, where it says so."""

    total_bytes: int
    free_bytes: int  # for who is not root
    read_only: bool
    devices: tuple[str, ...] = ()
    wear: float | None = None
    end_of_life: str | None = None  # NORMAL, WARNING or URGENT


@dataclass(frozen=True, slots=True)
class PowerRail:
    """What flows through one of the board's measured rails."""

    name: str
    watts: float


@dataclass(frozen=True, slots=True, order=True)
class Throttle:
    """A part that is slowed down."""

    part: str
    reason: ThrottleReason

    @property
    def text(self) -> str:
        """In words: 'GPU: heat'."""
        return f"{self.part}: {self.reason.lower().replace('_', ' ')}"


@dataclass(frozen=True, slots=True)
class ThrottleCount:
    """How often something slowed a part down since the machine started."""

    throttle: Throttle
    count: int


@dataclass(frozen=True, slots=True)
class GpuState:
    """One GPU. load: share of time in which it computed. problem: why it does not answer, '' if it does."""

    name: str
    uuid: str | None = None
    celsius: float | None = None
    slowdown_celsius: float | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    load: float | None = None
    watts: float | None = None
    watts_limit: float | None = None
    clock_hz: int | None = None
    clock_max_hz: int | None = None
    performance_state: int | None = None  # 0 is the fastest
    uncorrected_memory_errors: int | None = None
    heat_throttled_s: float | None = None  # since the driver was loaded
    throttling: tuple[ThrottleReason, ...] | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Hardware:
    """One machine at one moment."""

    board: str | None = None
    jetson_linux: str | None = None
    processor: str | None = None
    processor_count: int | None = None
    memory: Memory = field(default_factory=Memory)
    disk: Disk | None = None
    temperatures: tuple[Temperature, ...] = ()
    power_rails: tuple[PowerRail, ...] = ()
    power_mode: str | None = None
    throttling: tuple[Throttle, ...] | None = None
    throttle_counts: tuple[ThrottleCount, ...] = ()
    gpus: tuple[GpuState, ...] = ()

    @property
    def all_temperatures(self) -> tuple[Temperature, ...]:
        """The board's sensors and those of the GPUs."""
        own = [
            Temperature(gpu.name, Part.GPU, gpu.celsius, gpu.slowdown_celsius)
            for gpu in self.gpus
            if gpu.celsius is not None
        ]
        return (*self.temperatures, *own)

    @property
    def tells_throttling(self) -> bool:
        """Whether anything here shows or counts that it is slowed down."""
        counted = any(gpu.heat_throttled_s is not None for gpu in self.gpus)
        return self.throttling is not None or bool(self.throttle_counts) or counted

    @property
    def faults(self) -> tuple[Throttle, ...]:
        """What slows it down that should not."""
        return tuple(throttle for throttle in self.throttling or () if throttle.reason.is_fault)


def gpu_part(gpus: Sequence[GpuState], number: int) -> str:
    """Name a GPU as a part that is slowed down: with its number only where there are several."""
    return f"{Part.GPU} {number}" if len(gpus) > 1 else Part.GPU.value


def hottest(temperatures: Iterable[Temperature]) -> Temperature | None:
    """Return the highest of them; None if there is none."""
    return max(temperatures, key=lambda each: each.celsius, default=None)
