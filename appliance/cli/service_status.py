"""How `appliance serve` ends, for a service manager: whether another start can help.

The numbers are those of sysexits.h; the unit names those after which it does not start again.
"""

from enum import IntEnum

from appliance.errors import ApplianceError, Busy, CannotWrite, InvalidInput, StateUnusable
from appliance.slots.ending import START_AGAIN


class ServiceStatus(IntEnum):
    """Promised to units: never renumber."""

    FAILED = 1
    USAGE = 2  # the command line that the unit gives it
    STATE_UNUSABLE = 65  # EX_DATAERR: the registry is damaged, or newer software wrote it
    CANNOT_WRITE = 73  # EX_CANTCREAT: the state directory is read-only, full, or somebody else's
    START_AGAIN = START_AGAIN  # EX_TEMPFAIL: the address is taken, the GPU is lost, other software is due
    SETTINGS = 78  # EX_CONFIG
    CREDENTIALS = 243  # systemd's own, before this software runs: see systemd.exec(5)


class ServiceEnded(ApplianceError):
    """Why the service could not start, or go on."""

    def __init__(self, cause: ApplianceError) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.status = status_of(cause)


def status_of(error: ApplianceError) -> ServiceStatus:
    """Say what a start that ended with this error means."""
    if isinstance(error, StateUnusable):
        return ServiceStatus.STATE_UNUSABLE
    if isinstance(error, InvalidInput):
        return ServiceStatus.SETTINGS
    if isinstance(error, Busy):
        return ServiceStatus.START_AGAIN
    return ServiceStatus.CANNOT_WRITE if isinstance(error, CannotWrite) else ServiceStatus.FAILED
