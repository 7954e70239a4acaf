"""How a start of the service ended, in words, from what systemd tells an ExecStopPost (see systemd.exec(5))."""

from collections.abc import Mapping
from types import MappingProxyType

START_AGAIN = 75  # exit status: trying again can help, and it says nothing against the software
# Settings and state, as the daemon says itself; credentials that systemd could not give it.
_NOT_OF_THE_SOFTWARE = frozenset({START_AGAIN, 2, 65, 73, 78, 243})
_RESULTS = MappingProxyType(
    {
        "watchdog": "it gave no sign of life",
        "timeout": "it was not ready in time",
        "oom-kill": "it ran out of memory",
        "protocol": "it ended before it was ready",
        "resources": "systemd could not start it",
    }
)


def how_it_ended(environment: Mapping[str, str]) -> tuple[str, bool]:
    """Return how a start ended, '' if as it should, and whether that says something against the software."""
    result = environment.get("SERVICE_RESULT", "success")
    if result == "success":
        return "", False
    code, status = environment.get("EXIT_CODE", ""), environment.get("EXIT_STATUS", "")
    ending = f"signal {status}" if code in ("killed", "dumped") else f"exit status {status}" if status else ""
    words = _RESULTS.get(result, "")
    counts = not (status.isdigit() and int(status) in _NOT_OF_THE_SOFTWARE)
    return " with ".join(filter(None, [words or "it ended", ending])), counts
