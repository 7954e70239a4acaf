"""kill -9 before every file operation of the engine cache: a pair that fits, or nothing that is ever used."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.backends.tensorrt.engine_store import EngineStore
from appliance.state_layout import StateLayout
from tests.backends.tensorrt.engines import CONTENT, KEY, OTHER, content_of, files_below, keep, opened_store

ROOT = Path(__file__).parents[3]
Perform = Callable[[str, Path, int], Any]


@pytest.fixture(scope="module")
def perform() -> Iterator[Perform]:
    command = [sys.executable, "-m", "tests.backends.tensorrt.kill_driver"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(operation: str, state: Path, at: int) -> Any:
            """Returns 'killed', or the list of operations when it came through."""
            process.stdin.write(json.dumps({"operation": operation, "state": str(state), "at": at}) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()
        assert process.wait(10) == 0


def empty(_: EngineStore) -> None:
    """A store without engines."""


def another(store: EngineStore) -> None:
    keep(store, OTHER, b"other" * 100)


def kept(store: EngineStore) -> None:
    another(store)
    keep(store)


def with_kernels(store: EngineStore) -> None:
    kept(store)
    store.keep_runtime_cache(KEY, b"older kernels")


def damaged(store: EngineStore) -> None:
    kept(store)
    file = store.directory / KEY / "engine"
    file.chmod(0o644)
    file.write_bytes(CONTENT[::-1])


def half_built(store: EngineStore) -> None:
    kept(store)
    store.ledger.forget(KEY)
    (store.directory / KEY / "build-x").mkdir()
    (store.directory / KEY / "build-x" / "engine.part").write_bytes(b"half")


def prepared(prepare: Callable[[EngineStore], None], state: Path) -> Path:
    with opened_store(StateLayout(state)) as store:
        prepare(store)
    return state


def copied(template: Path, state: Path) -> Path:
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(template, state)
    return state


def assert_only_whole_engines(store: EngineStore, place: str) -> None:
    keys = {record.key for record in store.records()}
    engines = {path for path in files_below(store.directory) if not path.endswith("runtime.cache")}
    found = {key: content_of(store.find(key)) for key in (KEY, OTHER)}

    assert engines == {f"{key}/engine" for key in keys}, place
    assert found[KEY] in (CONTENT, None), place
    assert found[OTHER] in (b"other" * 100, None), place


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "prepare"),
    [
        ("put", empty),
        ("put", another),
        ("find", damaged),
        ("prune", kept),
        ("runtime cache", kept),
        ("runtime cache", with_kernels),
        ("open", half_built),
    ],
)
def test_an_operation_that_is_killed_anywhere_leaves_whole_engines_only(
    perform: Perform, operation: str, prepare: Callable[[EngineStore], None], tmp_path: Path
) -> None:
    template, state = prepared(prepare, tmp_path / "template"), tmp_path / "state"
    operations = perform(operation, copied(template, state), 0)
    assert operations != "killed"
    assert len(operations) > 10
    with opened_store(StateLayout(state)) as store:
        after = files_below(store.directory)

    for at in range(1, len(operations) + 1):
        place = f"killed before operation {at}: {operations[at - 1]}"
        assert perform(operation, copied(template, state), at) == "killed", place
        with opened_store(StateLayout(state)) as store:
            assert_only_whole_engines(store, place)
        assert perform(operation, state, 0) != "killed", place
        with opened_store(StateLayout(state)) as store:
            assert files_below(store.directory) == after, place
            assert_only_whole_engines(store, place)


def test_an_engine_is_on_the_disk_before_it_has_its_name_and_its_name_before_its_row(
    perform: Perform, tmp_path: Path
) -> None:
    """A power cut keeps of all this only what was forced to the disk, so the order is what counts."""
    operations = perform("put", prepared(empty, tmp_path / "state"), 0)
    place = next(at for at, done in enumerate(operations) if done.startswith("rename ") and done.endswith("/engine"))
    before, after = operations[:place], operations[place + 1 :]
    row = next(at for at, done in enumerate(after) if "INSERT OR REPLACE INTO engines" in done)

    assert before[-1].startswith("fsync ")
    assert before[-1].endswith("/engine")
    assert [done for done in after[:row] if done == f"fsync {tmp_path}/state/cache/engines/{KEY}"]
    assert [done for done in after[:row] if done == f"fsync {tmp_path}/state/cache/engines"]
    assert [done for done in after[row:] if done == "sql COMMIT"]
