"""The directory in which every loaded version says whether it executes: read by the process that comes after.

Whose process it was stands in the name of each file, so what an earlier one left is told from what is ours.
"""

import itertools
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import Failed, InvalidInput
from appliance.registry.source import AvailableVersion
from appliance.serving.version_marks import LeftMarks, MarkedVersion, VersionMarks, read_marks

logger = logging.getLogger(__name__)


class ExecutionMarks:
    """One process's. `of` may be called on any thread."""

    def __init__(self, directory: Path | None = None, boot: str = "") -> None:
        """directory: None where nobody comes after to look. boot: the kernel's name of the time since it started."""
        self._directory = directory
        self._boot = boot
        self._process = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    def of(self, available: AvailableVersion, instances: int) -> VersionMarks:
        """Make the marks of a version that is being loaded. It serves without a file rather than not at all."""
        return self._make(available, instances, loading=False)

    @contextmanager
    def loading(self, available: AvailableVersion) -> Iterator[None]:
        """Say during the block that a version is being loaded: then those that execute beside it are not to blame.

        A lost device leaves the mark, as it does after an execution.
        """
        marks, lost = self._make(available, 1, loading=True), False
        marks.bytes[marks.place(0)] = True
        try:
            yield
        except Failed as error:
            lost = error.device_lost
            raise
        finally:
            marks.bytes[marks.place(0)] = lost
            marks.close()

    def _make(self, available: AvailableVersion, instances: int, *, loading: bool) -> VersionMarks:
        if self._directory is None:
            return VersionMarks(instances)
        whose = MarkedVersion(
            self._process, self._boot, available.name, available.version, available.digest or "", loading
        )
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._directory / f"{self._process}-{next(self._numbers)}"
            return VersionMarks(instances, path, whose)
        except OSError as error:
            logger.error(  # noqa: TRY400
                "if %s version %s ends the process, nobody will know: %s: %s (next: appliance doctor)",
                available.name,
                available.version,
                self._directory,
                error.strerror,
            )
            return VersionMarks(instances)

    def left(self) -> list[LeftMarks]:
        """Return what earlier processes left since the machine started, of versions that were executing or loaded.

        What cannot be understood is told and removed: it will not become clearer.
        """
        found = []
        for path in self._files():
            if self._is_own(path):
                continue
            try:
                left = read_marks(path)
            except (InvalidInput, OSError) as error:
                logger.warning("who executed when the last process ended is not known: %s", error)
                _remove(path)
                continue
            if left.executing and left.whose.boot == self._boot:
                found.append(left)
        return found

    def remove_left(self) -> None:
        """Forget what earlier processes left."""
        for path in self._files():
            if not self._is_own(path):
                _remove(path)

    def remove_own(self) -> None:
        """The process ends in order: nobody shall ask."""
        try:
            for path in filter(self._is_own, self._files()):
                _remove(path)
        except OSError as error:
            logger.warning("%s cannot be looked into: %s", self._directory, error.strerror)

    def _is_own(self, path: Path) -> bool:
        return path.name.startswith(self._process)

    def _files(self) -> Iterator[Path]:
        if self._directory is not None and self._directory.is_dir():
            yield from sorted(self._directory.iterdir())


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be removed: %s", path, error.strerror)
