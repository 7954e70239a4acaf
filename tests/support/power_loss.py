"""Power cuts: every state of the disk in which an operation may be cut off (disk_journal.py has the model).

Beside kill_points: a process that is killed leaves all that it did, a box without power only what reached its disk.
The operation runs once, in a child that writes down what it does; the states are worked out from that.
"""

import os
import pickle
import shutil
import subprocess
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.disk_journal import DiskJournal
from tests.support.disk_recorder import DiskRecorder

Prepare = Callable[[], Callable[[], object]]


@dataclass(frozen=True, slots=True)
class PowerLoss:
    """Where the power went. `is_done`: when the operation had come to its end, so that its result must be there."""

    place: str
    is_done: bool


def power_losses(template: Path, state: Path, prepare: Prepare) -> Iterator[PowerLoss]:
    """Put at `state`, one after the other, what a power cut may leave of an operation on a copy of `template`.

    `prepare` runs in the child and returns the operation; only that is recorded. The directory may be changed freely
    before the next is asked for. Raises AssertionError if the operation fails, or does to the directory what cannot
    be recorded.
    """
    copy_tree(template, state)
    yield from lost_states(recorded(state, prepare), state)


def lost_states(journal: DiskJournal, state: Path, stride: int = 1) -> Iterator[PowerLoss]:
    """As `power_losses`, of an operation that was recorded before; every `stride`-th state, and all of the end."""
    for number, found in enumerate(journal.states()):
        if number % stride == 0 or found.is_done:
            shutil.rmtree(state, ignore_errors=True)
            found.write(state)
            yield PowerLoss(found.place, found.is_done)


def recorded(root: Path, prepare: Prepare) -> DiskJournal:
    """Run an operation on the tree at `root` in a child, and return what it did."""
    root.mkdir(parents=True, exist_ok=True)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _record(root, prepare, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    assert answer, "the child that was recorded died"
    journal = pickle.loads(answer)
    assert isinstance(journal, DiskJournal), f"the operation failed:\n{journal}"
    return journal


def copy_tree(template: Path, target: Path) -> None:
    """Replace a directory by a copy of another, hard links and all; empty if that is not there."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if template.exists():
        subprocess.run(["cp", "-a", template, target], check=True)
    else:
        target.mkdir(parents=True)


def _record(root: Path, prepare: Prepare, writer: int) -> None:
    answer: object = "ended before it was done"
    try:
        with os.fdopen(writer, "wb") as stream:  # opened before anything is recorded
            try:
                act = prepare()
                recorder = DiskRecorder(root)
                recorder.install()
                act()
                answer = recorder.finish()
            except BaseException:  # noqa: BLE001  # a child of fork: nobody above it may go on
                answer = traceback.format_exc()
            stream.write(pickle.dumps(answer))
    finally:
        os._exit(0)
