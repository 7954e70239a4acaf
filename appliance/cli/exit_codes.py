"""What the command line's exit status means, and the errors that exist only there."""

from enum import IntEnum

from appliance.bundle.refusal import UpdateRefused
from appliance.cli.service_status import ServiceEnded
from appliance.convert.refusal import ConversionRefused
from appliance.errors import ApplianceError, ErrorKind, InvalidInput


class ExitCode(IntEnum):
    """Promised to scripts: never renumber."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3


class DaemonUnreachable(ApplianceError):
    """Nobody answers at the address."""

    kind = ErrorKind.BUSY


class WrongUsage(InvalidInput):
    """The command line or the settings are wrong, so nothing was tried."""


def exit_code(error: ApplianceError) -> int:
    """Return the exit status of a command that ended with this error."""
    if isinstance(error, (ConversionRefused, UpdateRefused)):
        return int(error.reason.value)
    if isinstance(error, ServiceEnded):
        return int(error.status)
    if isinstance(error, DaemonUnreachable):
        return ExitCode.UNREACHABLE
    return ExitCode.USAGE if isinstance(error, WrongUsage) else ExitCode.FAILED
