"""The model of power cuts itself: wrong sequences of operations are caught, right ones pass."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.durable import fsync_directory, make_directory
from tests.support.power_loss import power_losses

Operation = Callable[[Path], object]


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def left_by(operation: Operation, tmp_path: Path, before: Operation = lambda _: None) -> list[dict[str, str]]:
    """Return all that power cuts may leave of an operation: file -> content, by state."""
    return [left for left, _ in losses(operation, tmp_path, before)]


def left_at_the_end(operation: Operation, tmp_path: Path, before: Operation = lambda _: None) -> list[dict[str, str]]:
    """Return what power cuts may leave when the operation has come to its end."""
    return [left for left, is_done in losses(operation, tmp_path, before) if is_done]


def losses(operation: Operation, tmp_path: Path, before: Operation) -> Iterator[tuple[dict[str, str], bool]]:
    directory = Path(tempfile.mkdtemp(dir=tmp_path))
    template, state = directory / "template", directory / "state"
    template.mkdir()
    before(template)
    for loss in power_losses(template, state, lambda: lambda: operation(state)):
        yield contents(state), loss.is_done


def synced(path: Path, text: str) -> None:
    with path.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def old_file(root: Path) -> None:
    (root / "file").write_text("old")


def replace_rightly(root: Path) -> None:
    synced(root / "file.tmp", "newer")
    (root / "file.tmp").replace(root / "file")
    fsync_directory(root)


def test_the_right_sequence_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    left = left_by(replace_rightly, tmp_path, old_file)

    assert {state["file"] for state in left} == {"old", "newer"}
    assert left[0] == {"file": "old"}
    assert left[-1] == {"file": "newer"}
    assert {state.get("file.tmp") for state in left} == {None, "", "ne", "newer"}


def test_a_rename_before_the_fsync_leaves_an_empty_or_a_torn_file(tmp_path: Path) -> None:
    def replace_wrongly(root: Path) -> None:
        (root / "file.tmp").write_text("newer")
        (root / "file.tmp").replace(root / "file")
        fsync_directory(root)

    left = left_by(replace_wrongly, tmp_path, old_file)

    assert {state["file"] for state in left} == {"old", "", "ne", "newer"}


def test_a_rename_without_an_fsync_of_its_directory_may_be_lost_when_all_is_done(tmp_path: Path) -> None:
    def forget_the_directory(root: Path) -> None:
        synced(root / "file.tmp", "newer")
        (root / "file.tmp").replace(root / "file")
        with (root / "log").open("a") as log:
            log.write("replaced")
            log.flush()
            os.fsync(log.fileno())

    def old(root: Path) -> None:
        old_file(root)
        (root / "log").touch()

    left = left_by(forget_the_directory, tmp_path, old)

    assert {"file": "old", "log": "replaced"} in left
    assert {"file": "newer", "log": "replaced"} in left
    assert {"file": "newer", "log": ""} in left


def test_the_same_with_the_directory_synced_first_is_never_promised_too_early(tmp_path: Path) -> None:
    def promise(root: Path) -> None:
        replace_rightly(root)
        synced(root / "log", "replaced")

    left = left_by(promise, tmp_path, old_file)

    assert all(state["file"] == "newer" for state in left if state.get("log") == "replaced")
    assert {"file": "newer", "log": "replaced"} in left


def test_a_synced_file_in_a_directory_that_was_never_synced_is_lost_with_it(tmp_path: Path) -> None:
    def forget_the_parent(root: Path) -> None:
        (root / "directory").mkdir()
        synced(root / "directory" / "file", "there")
        fsync_directory(root / "directory")

    def remember_it(root: Path) -> None:
        make_directory(root / "directory")
        synced(root / "directory" / "file", "there")
        fsync_directory(root / "directory")

    assert left_at_the_end(forget_the_parent, tmp_path) == [{"directory/file": "there"}, {}]
    assert left_at_the_end(remember_it, tmp_path) == [{"directory/file": "there"}]


def test_a_removal_may_come_back_until_its_directory_is_synced(tmp_path: Path) -> None:
    def remember(root: Path) -> None:
        (root / "file").unlink()
        fsync_directory(root)

    assert left_at_the_end(lambda root: (root / "file").unlink(), tmp_path, old_file) == [{}, {"file": "old"}]
    assert left_at_the_end(remember, tmp_path, old_file) == [{}]


def test_changes_of_two_directories_are_lost_independently(tmp_path: Path) -> None:
    def two_places(root: Path) -> None:
        os.link(root / "file", root / "one" / "name")
        os.link(root / "file", root / "two" / "name")

    def before(root: Path) -> None:
        old_file(root)
        (root / "one").mkdir()
        (root / "two").mkdir()

    left = left_by(two_places, tmp_path, before)

    assert {tuple(sorted(state)) for state in left} == {
        ("file",),
        ("file", "one/name"),
        ("file", "one/name", "two/name"),
        ("file", "two/name"),
    }


def test_changes_of_one_directory_are_lost_from_the_last_one_on(tmp_path: Path) -> None:
    def two_names(root: Path) -> None:
        os.link(root / "file", root / "first")
        os.link(root / "file", root / "second")

    left = left_by(two_names, tmp_path, old_file)

    assert {tuple(sorted(state)) for state in left} == {
        ("file",),
        ("file", "first"),
        ("file", "first", "second"),
    }


def test_a_rename_between_directories_never_leaves_two_names_nor_none(tmp_path: Path) -> None:
    def move(root: Path) -> None:
        (root / "one" / "file").rename(root / "two" / "file")
        fsync_directory(root / "one")
        fsync_directory(root / "two")

    def before(root: Path) -> None:
        (root / "one").mkdir()
        (root / "two").mkdir()
        (root / "one" / "file").write_text("old")

    left = left_by(move, tmp_path, before)

    assert left == [{"one/file": "old"}, {"two/file": "old"}, {"two/file": "old"}]


def test_a_line_that_was_appended_may_be_torn(tmp_path: Path) -> None:
    def append(root: Path) -> None:
        descriptor = os.open(root / "file", os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, b"+more!")
        os.fsync(descriptor)
        os.close(descriptor)

    left = left_by(append, tmp_path, old_file)

    assert left == [{"file": "old"}, {"file": "old+mo"}, {"file": "old+more!"}, {"file": "old+more!"}]


def test_what_was_synced_and_not_changed_since_is_not_torn(tmp_path: Path) -> None:
    def change_the_end(root: Path) -> None:
        with (root / "file").open("r+") as stream:
            stream.truncate(2)
            stream.seek(2)
            stream.write("NEWER!")

    assert left_at_the_end(change_the_end, tmp_path, old_file) == [
        {"file": "old"},
        {"file": "olNEW"},
        {"file": "olNEWER!"},
    ]


@pytest.mark.parametrize(
    "operation",
    [
        lambda root: (root / "new").write_text("text"),
        lambda root: (root / "new").touch(),
        lambda root: shutil.copyfile(root / "file", root / "new"),
        lambda root: shutil.move(root / "file", root / "new"),
        lambda root: (root / "new" / "deep").mkdir(parents=True),
        lambda root: os.close(os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=os.open(root, os.O_RDONLY))),
        lambda root: (root / "new").symlink_to("file"),
        lambda root: (root / "new").hardlink_to(root / "file"),
        lambda root: tempfile.mkdtemp(dir=root),
        lambda root: tempfile.NamedTemporaryFile(dir=root, delete=False).close(),
        lambda root: shutil.rmtree(root / "tree"),
        lambda root: shutil.copytree(root / "tree", root / "new"),
        lambda root: os.chdir(root) or Path("file").replace("new"),
    ],
)
def test_each_way_to_change_names_is_recorded(operation: Operation, tmp_path: Path) -> None:
    def before(root: Path) -> None:
        old_file(root)
        (root / "tree" / "branch").mkdir(parents=True)
        (root / "tree" / "branch" / "leaf").write_text("leaf")

    def names(root: Path) -> set[str]:
        return {str(path.relative_to(root)) for path in root.rglob("*")}

    template, state = tmp_path / "template", tmp_path / "state"
    template.mkdir()
    before(template)
    left = [names(state) for _ in power_losses(template, state, lambda: lambda: operation(state))]

    assert left[0] == names(template)
    assert any(found != names(template) for found in left)


def test_what_another_process_does_is_noticed(tmp_path: Path) -> None:
    def pass_by(root: Path) -> None:
        subprocess.run(["touch", root / "unseen"], check=True)

    with pytest.raises(AssertionError, match=r"without being recorded: .*unseen"):
        left_by(pass_by, tmp_path)


def test_an_operation_that_fails_says_so(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise ValueError("no such thing")

    with pytest.raises(AssertionError, match="no such thing"):
        left_by(fail, tmp_path)


def test_hard_links_stay_one_file(tmp_path: Path) -> None:
    def before(root: Path) -> None:
        old_file(root)
        os.link(root / "file", root / "twin")

    template, state = tmp_path / "template", tmp_path / "state"
    template.mkdir()
    before(template)
    for _ in power_losses(template, state, lambda: lambda: os.link(state / "file", state / "triplet")):
        assert (state / "file").stat().st_nlink == len(list(state.iterdir()))


def test_a_row_is_there_from_its_commit_on(tmp_path: Path) -> None:
    def rows(root: Path) -> int:
        with closing(sqlite3.connect(root / "rows.db")) as connection:
            return int(connection.execute("SELECT count(*) FROM t").fetchone()[0])

    def insert(root: Path) -> None:
        with closing(sqlite3.connect(root / "rows.db", isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (1)")
            synced(root / "before", "the row is not there yet")
            connection.execute("COMMIT")
            synced(root / "after", "the row is there")

    template, state = tmp_path / "template", tmp_path / "state"
    template.mkdir()
    with closing(sqlite3.connect(template / "rows.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
    found = []
    for loss in power_losses(template, state, lambda: lambda: insert(state)):
        found.append(rows(state))
        assert found[-1] == 1 or not (state / "after").exists(), loss.place

    assert found == sorted(found)
    assert set(found) == {0, 1}
