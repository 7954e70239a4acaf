"""What else the environment of the process says: where systemd and its journal listen, what could lead data out."""

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


def stderr_is_the_journal(environment: Mapping[str, str] | None = None, descriptor: int = 2) -> bool:
    """Whether what is written to standard error goes to the journal (see systemd.exec(5), JOURNAL_STREAM)."""
    environment = os.environ if environment is None else environment
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"


def remove_outbound_variables(environment: MutableMapping[str, str] | None = None) -> list[str]:
    """Take proxy and telemetry variables out: they could only lead data out. Returns their names."""
    environment = os.environ if environment is None else environment
    found = [name for name in environment if name.upper().startswith("OTEL_") or name.upper().endswith("_PROXY")]
    for name in found:
        del environment[name]
    return found
