"""The one exception tree: what went wrong, for whom, and what to do next.

Invariants: no transport words (rpc/status.py maps kinds to gRPC codes); `message` states the fact with what was
found and what was expected; `hint` is the next step, usually a command to type.
"""

from enum import Enum


class ErrorKind(Enum):
    """Who can do something about it."""

    INVALID = "invalid"  # the request is wrong: fix it
    NOT_FOUND = "not found"  # the thing named does not exist
    EXISTS = "exists"  # the thing named exists already
    BUSY = "busy"  # right now impossible: retry
    EXPIRED = "expired"  # the caller's deadline passed
    CANCELLED = "cancelled"  # the caller left
    UNSUPPORTED = "unsupported"  # not built, or switched off
    FAILED = "failed"  # our fault, or the machine's


class ApplianceError(Exception):
    """Base of every error that a person or a client is meant to read."""

    kind = ErrorKind.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidInput(ApplianceError):
    """The caller's input breaks a rule."""

    kind = ErrorKind.INVALID


class NotFound(ApplianceError):
    """What the caller named is not here."""

    kind = ErrorKind.NOT_FOUND


class AlreadyExists(ApplianceError):
    """What the caller wants to create is here already."""

    kind = ErrorKind.EXISTS


class Busy(ApplianceError):
    """Cannot be done at the moment: not ready, queue full, stopping."""

    kind = ErrorKind.BUSY


class Expired(ApplianceError):
    """The caller's own deadline passed before the work was done."""

    kind = ErrorKind.EXPIRED


class Cancelled(ApplianceError):
    """The caller left before the work was done."""

    kind = ErrorKind.CANCELLED


class Unsupported(ApplianceError):
    """Not part of this build, or switched off by the operator."""

    kind = ErrorKind.UNSUPPORTED


class Failed(ApplianceError):
    """The appliance or the machine under it failed."""

    kind = ErrorKind.FAILED
    device_lost = False  # whether a device works no longer for this process: only another one can use it


class StateUnusable(Failed):
    """What is kept on this box cannot be understood, and no second attempt will."""


class CannotWrite(Failed):
    """A disk of this box takes nothing: it is full, read-only, or somebody else's."""
