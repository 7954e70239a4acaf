"""Who executes, in a file that outlives the process; and files there that say nothing that could be understood."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from appliance.backends.cuda.error import CudaError
from appliance.errors import Failed, InvalidInput
from appliance.model.config import ModelConfig
from appliance.model.identity import ModelName, ModelVersion
from appliance.registry.directory_source import DirectorySource
from appliance.registry.source import AvailableVersion
from appliance.serving.direct_path import DirectMeter
from appliance.serving.execution_marks import ExecutionMarks
from appliance.serving.marked_instance import marked
from appliance.serving.model_manager import ModelManager
from appliance.serving.request import InferenceRequest
from appliance.serving.version_marks import HEADER_BYTES, VersionMarks, read_marks
from tests.serving.conftest import engine_works

BOOT = "11111111-2222-3333-4444-555555555555"
LOST = CudaError("cuStreamSynchronize", 700, "CUDA_ERROR_ILLEGAL_ADDRESS", "")
KILLED_WHILE_EXECUTING = """
import os, signal, sys
from pathlib import Path
from tests.serving.test_execution_marks import BOOT, ExecutionMarks, available, marked

class Crashing:
    def execute(self, inputs, outputs):
        os.kill(os.getpid(), int(sys.argv[2]))

marked(Crashing(), ExecutionMarks(Path(sys.argv[1]), BOOT).of(available("crashing"), 2), 1).execute({}, ())
"""


class Instance:
    """Computes nothing, and looks at its own marks while it does."""

    def __init__(self, directory: Path, error: Exception | None = None) -> None:
        self._directory = directory
        self._error = error
        self.seen: list[int] = []

    def execute(self, inputs, outputs):
        (path,) = self._directory.iterdir()
        self.seen.append(read_marks(path).executing)
        if self._error is not None:
            raise self._error
        return [np.zeros(1)]

    def close(self):
        pass


class JoiningInstance(Instance):
    def execute_joined(self, parts, outputs):
        return self.execute(parts[0], outputs)


def available(name: str) -> AvailableVersion:
    directory = Path("/nowhere")
    version = ModelVersion(3)
    return AvailableVersion(ModelName(name), version, directory, directory, ModelConfig(), None)


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "executing"


def left(directory, boot=BOOT):
    """What the next process finds."""
    return [
        (marks.whose.name, marks.whose.version, marks.executing, marks.hung)
        for marks in ExecutionMarks(directory, boot).left()
    ]


@pytest.mark.parametrize("kind", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_process_that_dies_while_it_executes_leaves_the_name_of_the_version(directory, kind):
    command = [sys.executable, "-c", KILLED_WHILE_EXECUTING, str(directory), str(int(kind))]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)

    assert ended.returncode == -kind
    assert left(directory) == [("crashing", 3, 1, 0)]
    assert left(directory, boot="another start of the machine") == []


def test_an_instance_is_marked_while_it_executes_and_only_then(directory):
    instance, joining = Instance(directory), JoiningInstance(directory)
    marks = ExecutionMarks(directory, BOOT).of(available("m"), 2)
    marked(instance, marks, 0).execute({}, ())
    marked(joining, marks, 1).execute_joined([{}], ())

    assert instance.seen == joining.seen == [1]
    assert not hasattr(marked(instance, marks, 0), "execute_joined")
    assert left(directory) == []


@pytest.mark.parametrize(("error", "stays"), [(Failed("refused"), False), (LOST, True)])
def test_an_execution_that_fails_is_over_unless_it_lost_the_device(directory, error, stays):
    marks = ExecutionMarks(directory, BOOT).of(available("m"), 1)
    with pytest.raises(Failed):
        marked(Instance(directory, error), marks, 0).execute({}, ())
    marks.close()

    assert left(directory) == ([("m", 3, 1, 0)] if stays else [])
    assert bool(list(directory.iterdir())) is stays


def test_hanging_counts_only_while_it_executes(directory):
    marks = ExecutionMarks(directory, BOOT).of(available("m"), 3)
    marks.bytes[marks.place(0)] = 1
    marks.note_hung([True, True])
    assert left(directory) == [("m", 3, 1, 1)]

    marks.note_hung([False, False])
    assert left(directory) == [("m", 3, 1, 0)]


def test_an_orderly_end_takes_its_own_files_away_and_nobody_elses(directory):
    before, now = ExecutionMarks(directory, BOOT), ExecutionMarks(directory, BOOT)
    for marks, name in ((before, "old"), (now, "new")):
        made = marks.of(available(name), 1)
        made.bytes[made.place(0)] = 1
    now.remove_own()
    assert left(directory) == [("old", 3, 1, 0)]

    now.remove_left()
    assert list(directory.iterdir()) == []


def test_an_orderly_end_takes_away_what_was_made_by_several_threads_at_once(directory):
    marks = ExecutionMarks(directory, BOOT)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: marks.of(available(f"m{number}"), 1), range(400)))
    assert len(list(directory.iterdir())) == 400

    marks.remove_own()
    assert list(directory.iterdir()) == []


def damaged(directory: Path, how: str) -> None:
    made = ExecutionMarks(directory, BOOT).of(available("m"), 2)
    made.bytes[made.place(0)] = 1
    (path,) = directory.iterdir()
    data = path.read_bytes()
    header = json.loads(data[:HEADER_BYTES])
    other = {
        "torn in the header": data[:500],
        "torn before the marks": data[:HEADER_BYTES],
        "torn in the marks": data[:-1],
        "empty": b"",
        "of other software": json.dumps(header | {"form": 2}).encode().ljust(HEADER_BYTES) + data[HEADER_BYTES:],
        "without a version": json.dumps(header | {"version": None}).encode().ljust(HEADER_BYTES)
        + data[HEADER_BYTES:],
        "with a name that is none": json.dumps(header | {"name": "../m"}).encode().ljust(HEADER_BYTES)
        + data[HEADER_BYTES:],
        "not text": os.urandom(len(data)),
        "zeros": bytes(len(data)),
        "a list": b"[]".ljust(HEADER_BYTES) + data[HEADER_BYTES:],
        "marks that are none": data[:-1] + b"\x07",
    }[how]
    path.write_bytes(other)


@pytest.mark.parametrize(
    "how",
    [
        "torn in the header",
        "torn before the marks",
        "torn in the marks",
        "empty",
        "of other software",
        "without a version",
        "with a name that is none",
        "not text",
        "zeros",
        "a list",
        "marks that are none",
    ],
)
def test_a_file_that_cannot_be_understood_blames_nobody_and_is_told_and_removed(directory, caplog, how):
    damaged(directory, how)
    (path,) = directory.iterdir()
    with pytest.raises(InvalidInput, match=str(path)):
        read_marks(path)

    assert left(directory) == []
    assert "who executed when the last process ended is not known" in caplog.text
    assert list(directory.iterdir()) == []


def test_where_nothing_can_be_written_the_version_serves_and_the_journal_says_what_is_missing(caplog):
    unwritable = Path("/proc/appliance")  # also for root
    marks = ExecutionMarks(unwritable, BOOT).of(available("m"), 1)

    assert marked(Instance(Path(__file__).parent), marks, 0) is not None
    marks.bytes[marks.place(0)] = 1
    marks.close()
    assert "if m version 3 ends the process, nobody will know" in caplog.text
    assert "appliance doctor" in caplog.text


class RecordedMarks(ExecutionMarks):
    """Keeps every store, in order."""

    def __init__(self):
        super().__init__()
        self.stores: list[tuple[int, int]] = []

    def of(self, available, instances):
        marks = super().of(available, instances)
        marks.bytes = RecordedBytes(self.stores)
        return marks


class RecordedBytes:
    def __init__(self, stores):
        self._stores = stores

    def __setitem__(self, place, value):
        self._stores.append((place, value))


def test_the_warm_up_a_worker_and_the_direct_path_mark_what_they_execute(models, tmp_path):
    models.reference("m")
    marks = RecordedMarks()
    x = {"x": np.ones((1, 2), np.float32)}

    async def scenario():
        manager = ModelManager(
            DirectorySource(models.root), engine_works(tmp_path), load_threads=1, load_attempts=2, marks=marks
        )
        await manager.reconcile()
        model = manager.table.lookup("m", "")
        seen = [list(marks.stores)]
        await model.infer(InferenceRequest(x, ("y",), 1, None, received_ns=time.monotonic_ns()))
        seen.append(marks.stores[len(seen[0]) :])
        meter = DirectMeter()
        for _ in range(8):
            meter.observe(1)
        answer = model.infer_now(x, ("y",), 1, time.monotonic_ns(), meter, alone=True)
        seen.append(marks.stores[len(seen[0]) + len(seen[1]) :])
        await asyncio.wait_for(manager.close(), 30)
        return seen, answer

    (warm_up, by_worker, direct), answer = asyncio.run(scenario())

    worker, last = (VersionMarks.place(number) for number in (0, 1))
    assert warm_up == by_worker == [(worker, 1), (worker, 0)]
    assert direct == [(last, 1), (last, 0)]
    assert answer[0].tolist() == [[1, 1]]


def test_without_room_a_version_serves_unmarked_and_leaves_nothing_behind(small_disk):
    marks = ExecutionMarks(small_disk / "executing", BOOT)
    with contextlib.suppress(OSError), (small_disk / "full").open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    unmarked = marks.of(available("big"), 1000)

    assert unmarked.bytes[VersionMarks.place(0)] == 0
    assert list((small_disk / "executing").glob("*")) == []
