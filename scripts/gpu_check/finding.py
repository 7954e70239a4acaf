"""One line of the report."""

from dataclasses import dataclass
from enum import Enum


class Result(Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "FAILED"
    MEASURED = "measured"  # a number without a goal
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found on one subject. `goal`: '' where there is none; `detail`: why it failed or was not run."""

    check: str
    subject: str
    result: Result
    found: str = ""
    goal: str = ""
    detail: str = ""


def passed(check: str, subject: str, found: str, goal: str = "") -> Finding:
    return Finding(check, subject, Result.PASSED, found, goal)


def failed(check: str, subject: str, detail: str, *, found: str = "", goal: str = "") -> Finding:
    return Finding(check, subject, Result.FAILED, found, goal, detail)


def measured(check: str, subject: str, found: str) -> Finding:
    return Finding(check, subject, Result.MEASURED, found)


def not_run(check: str, subject: str, why: str) -> Finding:
    return Finding(check, subject, Result.NOT_RUN, detail=why)


def judged(check: str, subject: str, found: str, goal: str, *, met: bool, otherwise: str = "goal missed") -> Finding:
    """A number that has a goal. `otherwise`: what is said where it is missed."""
    return passed(check, subject, found, goal) if met else failed(check, subject, otherwise, found=found, goal=goal)
