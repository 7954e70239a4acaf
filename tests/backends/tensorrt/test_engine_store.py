"""The engine cache: what cannot be trusted is never returned, and never more is kept than allowed."""

import logging
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from appliance.backends.tensorrt.engine_slot import try_hold
from appliance.backends.tensorrt.engine_store import EngineStore
from appliance.errors import AlreadyExists, Cancelled, Failed, NotFound
from appliance.model.engine import EnginePlatform
from appliance.registry.engine_records import EngineRecords
from appliance.state_layout import StateLayout
from tests.backends.tensorrt.engines import (
    CONTENT,
    KEY,
    OTHER,
    THIRD,
    content_of,
    digest,
    files_below,
    keep,
    opened,
    opened_store,
    record,
)
from tests.support.small_disk import SMALL_DISK_BYTES

PLATFORM = EnginePlatform("tensorrt-rtx", "1.7.1.116", "8.9")


@pytest.fixture
def layout(tmp_path: Path) -> StateLayout:
    return StateLayout(tmp_path / "state")


@pytest.fixture
def store(layout: StateLayout) -> Iterator[EngineStore]:
    with opened_store(layout) as made:
        yield made


@pytest.fixture
def engine(store: EngineStore) -> Path:
    """The file of a kept engine."""
    keep(store)
    return store.directory / KEY / "engine"


def flip_a_byte(file: Path) -> None:
    content = bytearray(CONTENT)
    content[len(content) // 2] ^= 1
    rewrite(file, bytes(content))


def truncate(file: Path) -> None:
    rewrite(file, CONTENT[:-1])


def empty(file: Path) -> None:
    rewrite(file, b"")


def lengthen(file: Path) -> None:
    rewrite(file, CONTENT + b"!")


def replace_by_symlink(file: Path) -> None:
    file.rename(file.parent.parent / "elsewhere")  # the very same content
    file.symlink_to(file.parent.parent / "elsewhere")


def replace_by_foreign(file: Path) -> None:
    rewrite(file, b"foreign code" * 1000)


def replace_by_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def replace_by_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def remove(file: Path) -> None:
    file.unlink()


def remove_with_directory(file: Path) -> None:
    shutil.rmtree(file.parent)


def replace_directory_by_symlink(file: Path) -> None:
    elsewhere = file.parent.parent / "elsewhere"
    file.parent.rename(elsewhere)
    file.parent.symlink_to(elsewhere)


def replace_directory_by_file(file: Path) -> None:
    shutil.rmtree(file.parent)
    file.parent.write_bytes(CONTENT)


def rewrite(file: Path, content: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(content)


def test_what_was_kept_is_found_with_its_digest(store: EngineStore, engine: Path) -> None:
    found = store.find(KEY)

    assert found is not None
    assert (found.path, found.digest, found.flavour) == (engine, digest(CONTENT), "tensorrt-rtx")
    assert content_of(found) == CONTENT
    assert engine.stat().st_mode & 0o777 == 0o444
    assert files_below(store.directory) == [f"{KEY}/engine"]


def test_what_was_never_kept_is_not_there(store: EngineStore) -> None:
    assert store.find(KEY) is None
    assert files_below(store.directory) == []


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        truncate,
        empty,
        lengthen,
        replace_by_symlink,
        replace_by_foreign,
        replace_by_directory,
        replace_by_fifo,
        remove,
        remove_with_directory,
        replace_directory_by_file,
    ],
)
def test_what_is_not_as_it_was_recorded_is_removed_with_a_word_in_the_journal(
    store: EngineStore, engine: Path, damage, caplog: pytest.LogCaptureFixture
) -> None:
    damage(engine)

    assert store.find(KEY) is None
    assert store.records() == []
    assert not engine.parent.exists()
    assert "is removed" in caplog.text
    keep(store)
    assert content_of(store.find(KEY)) == CONTENT


def test_a_place_that_leads_elsewhere_is_not_followed_when_it_is_built(store: EngineStore, engine: Path) -> None:
    elsewhere = engine.parent.parent / "elsewhere"
    replace_directory_by_symlink(engine)

    keep(store)

    assert not engine.parent.is_symlink()
    assert content_of(store.find(KEY)) == CONTENT
    assert (elsewhere / "engine").read_bytes() == CONTENT


def test_a_file_without_a_row_is_never_used(store: EngineStore, engine: Path) -> None:
    store.ledger.forget(KEY)

    assert store.find(KEY) is None
    assert files_below(store.directory) == []


def test_what_is_changed_after_the_check_changes_nothing_that_was_handed_out(
    store: EngineStore, engine: Path
) -> None:
    found = store.find(KEY)
    replace_by_foreign(engine)
    os.truncate(engine, 0)

    assert content_of(found) == CONTENT


def test_an_engine_that_is_being_built_is_not_touched_by_who_looks(store: EngineStore, engine: Path) -> None:
    store.ledger.forget(KEY)
    with opened(store, KEY):
        assert store.find(KEY) is None
        assert engine.exists()


def test_opening_removes_what_was_left_half_done(layout: StateLayout) -> None:
    with opened_store(layout) as store:
        keep(store)
        keep(store, OTHER)
        keep(store, THIRD)
        store.ledger.forget(OTHER)
        (store.directory / THIRD / "engine").unlink()
        (store.directory / KEY / "build-x").mkdir()
        (store.directory / KEY / "build-x" / "engine.part").write_bytes(b"half")
        (store.directory / "lost+found").mkdir()

    with opened_store(layout) as store:
        assert files_below(store.directory) == [f"{KEY}/engine"]
        assert [kept.key for kept in store.records()] == [KEY]
        assert (store.directory / "lost+found").is_dir()
        assert not (store.directory / OTHER).exists()


def test_opening_leaves_alone_what_is_being_built(layout: StateLayout) -> None:
    with opened_store(layout) as store, opened(store, KEY) as slot, slot.workspace() as workspace:
        (workspace / "engine.part").write_bytes(b"half")
        with opened_store(layout):
            assert (workspace / "engine.part").exists()


def test_the_least_recently_used_go_first_and_never_the_newest(layout: StateLayout) -> None:
    with opened_store(layout, largest_bytes=2 * len(CONTENT)) as store:
        keep(store, KEY, used_at=3.0)
        keep(store, OTHER, used_at=2.0)
        store.used(OTHER)  # at 1000

        keep(store, THIRD, used_at=1.0)

        assert {kept.key for kept in store.records()} == {OTHER, THIRD}
        assert store.find(KEY) is None
        assert content_of(store.find(THIRD)) == CONTENT


def test_an_engine_that_is_more_than_the_cache_may_hold_is_refused_and_others_stay(layout: StateLayout) -> None:
    with opened_store(layout, largest_bytes=len(CONTENT)) as store:
        keep(store)
        with pytest.raises(
            Failed, match=r"the engine has 12012 bytes, the engine cache may hold 12000.*largest_bytes"
        ):
            keep(store, OTHER, CONTENT + b"and more....")

        assert files_below(store.directory) == [f"{KEY}/engine"]


def test_pruning_to_nothing_removes_all_but_what_is_being_built(store: EngineStore) -> None:
    keep(store)
    keep(store, OTHER)
    with opened(store, KEY):
        removed = store.prune(0)

    assert [gone.key for gone in removed] == [OTHER]
    assert [gone.key for gone in store.prune(0)] == [KEY]
    assert files_below(store.directory) == []


def test_the_bytes_that_the_disk_gives_back_must_be_those_of_the_builder(store: EngineStore) -> None:
    with opened(store, KEY) as slot, slot.workspace() as workspace:
        (workspace / "engine").write_bytes(CONTENT[::-1])
        with pytest.raises(Failed, match=r"not kept as it was built.*journalctl"):
            store.put(slot, workspace / "engine", record())

    assert (files_below(store.directory), store.records()) == ([], [])


def test_one_builds_while_the_other_waits(store: EngineStore) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        with store.locked(KEY, threading.Event(), waiting.set):
            order.append("second")

    with opened(store, KEY):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)

    assert order == ["first", "second"]
    assert not (store.directory / KEY).exists()


def test_a_place_has_one_holder_however_often_it_comes_and_goes(store: EngineStore) -> None:
    """Each holder leaves an empty place, which is removed while others are about to lock it."""
    inside: list[int] = []
    most: list[int] = []

    def hold_often(number: int) -> None:
        held = 0
        while held < 40:
            with try_hold(store.directory / KEY, store.ledger) as slot:
                if slot is not None:
                    held += 1
                    inside.append(number)
                    most.append(len(inside))
                    slot.directory.stat()  # lets the others run
                    inside.remove(number)

    threads = [threading.Thread(target=hold_often, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(most) == 160
    assert set(most) == {1}
    assert not (store.directory / KEY).exists()


def test_waiting_can_be_cancelled(store: EngineStore) -> None:
    cancelled = threading.Event()
    with opened(store, KEY), pytest.raises(Cancelled), store.locked(KEY, cancelled, cancelled.set):
        pass


def test_kernels_compiled_at_run_time_are_kept_and_verified(store: EngineStore, engine: Path) -> None:
    store.keep_runtime_cache(KEY, b"kernels")
    found = store.find(KEY)
    assert found is not None
    assert found.runtime_cache == b"kernels"
    found.close()

    rewrite(engine.parent / "runtime.cache", b"KERNELS")
    found = store.find(KEY)

    assert found is not None
    assert found.runtime_cache == b""
    assert content_of(found) == CONTENT


def test_kernels_count_for_the_bound(store: EngineStore, engine: Path) -> None:
    store.keep_runtime_cache(KEY, b"kernels")

    assert store.prune(len(CONTENT) + len(b"kernels")) == []
    assert [gone.key for gone in store.prune(len(CONTENT))] == [KEY]
    assert files_below(store.directory) == []


def test_the_cache_may_be_deleted_while_it_is_in_use(store: EngineStore, engine: Path, tmp_path: Path) -> None:
    shutil.rmtree(store.directory.parent)

    assert store.find(KEY) is None
    assert store.records() == []
    keep(store)
    (tmp_path / "written").write_bytes(b"measured")
    store.keep_timing_cache(PLATFORM, tmp_path / "written")
    assert content_of(store.find(KEY)) == CONTENT
    assert store.timing_cache(PLATFORM).read_bytes() == b"measured"


def test_kernels_of_an_engine_that_is_gone_are_not_kept(store: EngineStore) -> None:
    store.keep_runtime_cache(KEY, b"kernels")

    assert files_below(store.directory) == []


def test_each_platform_has_a_timing_cache_of_its_own(store: EngineStore) -> None:
    changed = [replace(PLATFORM, **{name: "x"}) for name in asdict(PLATFORM)]

    assert len({store.timing_cache(platform) for platform in (PLATFORM, *changed)}) == 1 + len(changed)


def test_timing_caches_are_exported_once(store: EngineStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no timing cache yet"):
        store.export_timing_cache(tmp_path / "out")
    (tmp_path / "written").write_bytes(b"measured")
    store.keep_timing_cache(PLATFORM, tmp_path / "written")

    (exported,) = store.export_timing_cache(tmp_path / "out")

    assert exported.read_bytes() == b"measured"
    assert files_below(tmp_path / "out") == [exported.name]
    with pytest.raises(AlreadyExists):
        store.export_timing_cache(tmp_path / "out")


def test_a_full_disk_is_said_with_the_command_that_makes_room(small_disk: Path, tmp_path: Path) -> None:
    with EngineRecords.open(tmp_path / "registry.db") as records:
        store = EngineStore(small_disk / "engines", records, largest_bytes=1 << 30)
        store.open_store()
        keep(store)
        with pytest.raises(Failed, match=r"No space left .*appliance engines prune --largest-bytes 0"):
            store.keep_runtime_cache(KEY, b"x" * 2 * SMALL_DISK_BYTES)

        assert files_below(store.directory) == [f"{KEY}/engine"]
        assert content_of(store.find(KEY)) == CONTENT
        (small_disk / "filler").write_bytes(b"x" * shutil.disk_usage(small_disk).free)
        store.prune(0)
        assert (store.records(), files_below(store.directory)) == ([], [])


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with EngineRecords.open(tmp_path / "registry.db") as records:
        store = EngineStore(tmp_path / "file" / "engines", records, largest_bytes=1)
        with pytest.raises(Failed, match="opening the engine cache: File exists"):
            store.open_store()


def test_that_an_engine_was_used_may_go_unrecorded(
    store: EngineStore, engine: Path, layout: StateLayout, caplog: pytest.LogCaptureFixture
) -> None:
    layout.database.unlink()
    with caplog.at_level(logging.WARNING):
        store.used(KEY)

    assert "is not recorded" in caplog.text
