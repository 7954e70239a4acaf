"""Why an update is not installed: a class with a number that scripts rely on, one sentence, the next step."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from appliance.errors import ApplianceError, ErrorKind


class Refusal(Enum):
    """Classes of refusals; the values are exit statuses, promised to scripts: never renumber."""

    NOTHING_TO_DO = 10
    BAD_SIGNATURE = 20
    THRESHOLD = 21
    ROOT_CHAIN_GAP = 22
    ROLLBACK = 23
    EXPIRED = 24
    CLOCK_OR_EXPIRED = 25
    WRONG_DEVICE = 26
    WRONG_PRODUCT = 27
    INCOMPLETE_MEDIUM = 28
    HASH_MISMATCH = 29
    NO_SPACE = 30
    BUSY = 31
    PRECONDITION = 32
    TRIAL_FAILED_ROLLED_BACK = 33
    STATE_DAMAGED = 34
    MEDIUM_IO = 35
    AMBIGUOUS_MEDIUM = 36


Fact = str | int | list[str]


class UpdateRefused(ApplianceError):
    """A bundle was not installed. Nothing that serves was touched. `facts`: found and expected, for `--json`."""

    kind = ErrorKind.INVALID

    def __init__(self, reason: Refusal, message: str, *, hint: str, facts: Mapping[str, Fact] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.facts: Mapping[str, Fact] = MappingProxyType(dict(facts or {}))
