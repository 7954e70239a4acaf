"""Who was executing when the process before died: asked before anything is loaded, written down, told the journal.

A process that ends in order leaves nothing to ask. One that a person kills while it executes looks like a crash.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from appliance.errors import ApplianceError
from appliance.journal_messages import Event, told
from appliance.model.identity import ModelName, ModelVersion
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.records import Suspect
from appliance.serving.execution_marks import ExecutionMarks
from appliance.serving.version_marks import LeftMarks
from appliance.updates.audit_log import this_boot

logger = logging.getLogger(__name__)


def uptime_s() -> float:
    """Seconds since the machine started, those asleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class PostMortem:
    """One daemon's. `marks` are for its own models. Its user holds the daemon's lock."""

    def __init__(
        self,
        directory: Path,
        registry: ModelRegistry | None,
        boot: Callable[[], str] = this_boot,
        uptime_s: Callable[[], float] = uptime_s,
    ) -> None:
        """registry: None where nothing is remembered; then the journal is told, and no more. Raises Failed."""
        self._registry = registry
        self._boot = boot()
        self._uptime_s = uptime_s
        self._device_lost = False
        self.marks = ExecutionMarks(directory, self._boot)

    def device_lost(self) -> None:
        """A GPU is lost: this process ends in order, and the next one shall know all the same who executed there."""
        self._device_lost = True

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Ask about the process before; at the end of the block this one ends in order."""
        try:
            self._ask()
        except (ApplianceError, OSError) as error:  # what it was must not keep anything from serving
            logger.error("what ended the last process is not written down: %s", error)  # noqa: TRY400
        try:
            yield
        finally:
            if not self._device_lost:
                self.marks.remove_own()

    def _ask(self) -> None:
        left = self.marks.left()
        for loading in (marks.whose for marks in left if marks.whose.loading):
            logger.error(
                "the last process ended, not in order, while %s version %s was being loaded: that attempt counts",
                loading.name,
                loading.version,
            )
        suspects = suspects_of(left)
        for _, group in groupby(suspects, lambda suspect: suspect.process):
            logger.error("%s", in_words(list(group)), extra=told(Event.EXECUTION_CRASHED))
        if suspects and self._registry is not None:
            self._registry.crash_guard.write_down(suspects, self._boot, self._uptime_s())
        self.marks.remove_left()


def suspects_of(left: Sequence[LeftMarks]) -> list[Suspect]:
    """Return who may have ended each process: who hung, if that is known, else everyone who was executing.

    Nobody of those while something was being loaded: that attempt is written down, and refused before long if it was
    the cause. Were those that serve blamed as well, one bad model would take good ones with it.
    """
    found: dict[tuple[str, ModelName, ModelVersion], Suspect] = {}
    loading = {marks.whose.process for marks in left if marks.whose.loading}
    for marks in left:
        whose = marks.whose
        if whose.process in loading and not marks.hung:
            continue
        suspect = Suspect(whose.process, whose.name, whose.version, whose.digest, hung=marks.hung > 0)
        known = found.get((whose.process, whose.name, whose.version))
        if known is None or suspect.hung:  # a version is there twice while it is loaded again
            found[whose.process, whose.name, whose.version] = suspect
    hung = {suspect.process for suspect in found.values() if suspect.hung}
    return sorted(
        (suspect for suspect in found.values() if suspect.hung or suspect.process not in hung),
        key=lambda suspect: (suspect.process, suspect.name, suspect.version),
    )


def in_words(suspects: Sequence[Suspect]) -> str:
    """Say who may have ended one process."""
    listed = " and ".join(f"{suspect.name} version {suspect.version}" for suspect in suspects)
    if any(suspect.hung for suspect in suspects):
        return f"the last process ended while {listed} hung"
    if len(suspects) == 1:
        return f"the last process ended, not in order, while {listed} was executing"
    return f"the last process ended, not in order, while {listed} were executing: each of them is a suspect"
