"""Error kind -> gRPC status code: the only table, in numbers, so that every transport can use it."""

from types import MappingProxyType

from appliance.errors import ApplianceError, ErrorKind

OK = 0
CANCELLED = 1
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14

_CODES = MappingProxyType(
    {
        ErrorKind.INVALID: INVALID_ARGUMENT,
        ErrorKind.NOT_FOUND: NOT_FOUND,
        ErrorKind.EXISTS: ALREADY_EXISTS,
        ErrorKind.BUSY: UNAVAILABLE,
        ErrorKind.EXPIRED: DEADLINE_EXCEEDED,
        ErrorKind.CANCELLED: CANCELLED,
        ErrorKind.UNSUPPORTED: UNIMPLEMENTED,
        ErrorKind.FAILED: INTERNAL,
    }
)


def status_code(error: ApplianceError) -> int:
    """Return the gRPC status code of an error."""
    return _CODES[error.kind]
