"""One line of `appliance doctor`."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

AS_ROOT: Final = "sudo appliance doctor"


class Result(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"  # it works, but somebody should know
    ERROR = "error"  # something does not work


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. `remedy`: what to do, '' if all is well."""

    name: str
    result: Result
    finding: str
    remedy: str = ""
