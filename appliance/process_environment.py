"""What else the environment of the process says: where systemd listens, and what could lead data out."""

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SystemdEnvironment:
    """What systemd tells a service: where to report, and how often it wants a sign of life (0: never)."""

    notify_socket: str
    watchdog_s: float


def systemd_environment(environment: Mapping[str, str] | None = None) -> SystemdEnvironment:
    """Read NOTIFY_SOCKET and WATCHDOG_USEC (see sd_notify(3), sd_watchdog_enabled(3))."""
    environment = os.environ if environment is None else environment
    for_us = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
    microseconds = environment.get("WATCHDOG_USEC", "")
    watchdog_s = int(microseconds) / 1e6 if for_us and microseconds.isdigit() else 0.0
    return SystemdEnvironment(environment.get("NOTIFY_SOCKET", ""), watchdog_s)


def remove_outbound_variables(environment: MutableMapping[str, str] | None = None) -> list[str]:
    """Take proxy and telemetry variables out: they could only lead data out. Returns their names."""
    environment = os.environ if environment is None else environment
    found = [name for name in environment if name.upper().startswith("OTEL_") or name.upper().endswith("_PROXY")]
    for name in found:
        del environment[name]
    return found
