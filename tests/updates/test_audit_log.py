"""The audit log: what is written stays provable, and every change of it is named."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from appliance.updates.audit_entry import LONGEST_TEXT, AuditEvent, AuditHead, digest_of_line
from appliance.updates.audit_log import AuditLog

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
FIRST = "000000000001.jsonl"


def open_log(directory: Path, **options: int) -> AuditLog:
    ticks = count(1)
    return AuditLog(
        directory, lambda: NOON, boot_id=lambda: "boot-1", monotonic_s=lambda: float(next(ticks)), **options
    )


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return filled(tmp_path / "audit")


def filled(directory: Path, entries: int = 6) -> AuditLog:
    log = open_log(directory)
    for number in range(1, entries + 1):
        log.append(AuditEvent.MODEL_ACTIVATED, {"model": "digits", "version": number})
    return log


def edit_lines(directory: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = directory / FIRST
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def test_entries_come_back_as_they_were_written(log: AuditLog) -> None:
    entries = log.entries()

    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert entries[2].event == AuditEvent.MODEL_ACTIVATED
    assert entries[2].facts == {"model": "digits", "version": 3}
    assert (entries[2].t, entries[2].boot_id, entries[2].monotonic_ms) == ("2026-11-23T12:00:00Z", "boot-1", 3000)
    assert log.verify() == []


def test_each_line_names_the_sha256_of_the_line_before(log: AuditLog, tmp_path: Path) -> None:
    lines = (tmp_path / "audit" / FIRST).read_bytes().splitlines()

    assert [json.loads(line)["prev"] for line in lines[1:]] == [digest_of_line(line) for line in lines[:-1]]
    assert log.head().digest == digest_of_line(lines[-1])
    assert log.head().short == digest_of_line(lines[-1])[:8]


def test_the_last_entries_can_be_asked_for(log: AuditLog) -> None:
    assert [entry.seq for entry in log.entries(last=2)] == [5, 6]
    assert log.entries(last=0) == []
    assert len(log.entries(last=100)) == 6


def test_a_log_that_was_never_written_is_empty_and_makes_no_files(tmp_path: Path) -> None:
    log = open_log(tmp_path / "audit")

    assert (log.entries(), log.verify(), log.head()) == ([], [], AuditHead())
    assert list(tmp_path.iterdir()) == []


def test_hostile_text_stays_one_bounded_line(tmp_path: Path) -> None:
    log = open_log(tmp_path / "audit")
    log.append(AuditEvent.UPDATE_REFUSED, {"reason": "a\nb\x1b[2J\udcff" + "x" * 100_000})
    log.append(AuditEvent.SERVICE_STOPPED)

    (refused, _) = log.entries()
    assert str(refused.facts["reason"]).startswith("a\nb\x1b[2J\\udcffx")
    assert len(str(refused.facts["reason"])) == LONGEST_TEXT
    assert len((tmp_path / "audit" / FIRST).read_bytes().splitlines()) == 2
    assert log.verify() == []


@pytest.mark.parametrize("line", range(6))
def test_a_changed_line_is_named(log: AuditLog, tmp_path: Path, line: int) -> None:
    def change(lines: list[bytes]) -> list[bytes]:
        lines[line] = lines[line].replace(b"digits", b"dagits")
        return lines

    edit_lines(tmp_path / "audit", change)

    (finding,) = log.verify()
    assert f"{FIRST} line {line + 1}: was changed" in finding


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: lines[:2] + lines[3:], "line 3: is entry 4, expected 3"),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "line 3: is entry 4, expected 3"),
        (lambda lines: [*lines[:3], lines[1], *lines[3:]], "line 4: is entry 2, expected 4"),
        (lambda lines: [*lines[:3], b'{"seq":4}\n', *lines[3:]], "line 4: is not an audit entry"),
        (lambda lines: lines[:-1], "ends with entry 5, its head names 6"),
        (lambda lines: [*lines[:-1], lines[-1][:20]], "ends with entry 5, its head names 6"),
        (lambda _: [], "ends with entry 0, its head names 6"),
        (lambda lines: lines[1:], "begins with entry 2"),
    ],
    ids=["delete", "swap", "insert a copy", "insert", "truncate", "truncate a line", "empty", "behead"],
)
def test_every_other_kind_of_change_is_named(
    log: AuditLog, tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], expected: str
) -> None:
    edit_lines(tmp_path / "audit", change)

    assert expected in "\n".join(log.verify())


def test_a_well_formed_entry_behind_the_head_is_named(log: AuditLog, tmp_path: Path) -> None:
    longer = filled(tmp_path / "longer", 9)
    shutil.copy(tmp_path / "longer" / FIRST, tmp_path / "audit" / FIRST)

    assert longer.verify() == []
    assert "entry 9 was added; the head names 6" in log.verify()[0]


def test_no_line_can_be_deleted_doubled_or_moved_unseen(tmp_path: Path) -> None:
    log = filled(tmp_path / "audit", 5)
    path = tmp_path / "audit" / FIRST
    lines = path.read_bytes().splitlines(keepends=True)
    changes = [[*lines[:at], *lines[at + 1 :]] for at in range(5)]
    for source in range(5):
        for target in range(6):
            changes.append([*lines[:target], lines[source], *lines[target:]])
            moved = [line for at, line in enumerate(lines) if at != source]
            moved.insert(target, lines[source])
            changes.append(moved)
    changes = [change for change in changes if change != lines]
    assert len(changes) > 50

    for change in changes:
        path.write_bytes(b"".join(change))
        assert log.verify(), change


def test_the_digits_on_a_receipt_are_found_again(log: AuditLog) -> None:
    shown = log.head()
    log.append(AuditEvent.SERVICE_STOPPED)

    assert log.verify([shown.short, shown.digest]) == []
    (finding,) = log.verify([shown.short, "0123456789abcdef"])
    assert "no entry has the digest 0123456789abcdef" in finding


def test_a_log_that_was_put_back_to_an_older_state_lacks_what_a_receipt_shows(log: AuditLog, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "audit", tmp_path / "older")
    shown = log.append(AuditEvent.UPDATE_INSTALLED)
    older = open_log(tmp_path / "older")

    assert older.verify() == []
    assert older.verify([shown.short]) != []


@pytest.mark.parametrize("flipped", [b"\x01", b"\x20", b"\x80"])
def test_no_bit_of_the_log_can_change_unseen(tmp_path: Path, flipped: bytes) -> None:
    log = filled(tmp_path / "audit", 3)
    path = tmp_path / "audit" / FIRST
    sound = path.read_bytes()
    for offset in range(len(sound)):
        changed = bytearray(sound)
        changed[offset] ^= flipped[0]
        path.write_bytes(changed)

        assert log.verify(), f"byte {offset}"


@pytest.mark.parametrize("change", ["damage", "remove"])
def test_damage_stays_visible_however_the_log_goes_on(log: AuditLog, tmp_path: Path, change: str) -> None:
    head = tmp_path / "audit" / "head.json"
    head.unlink() if change == "remove" else head.write_bytes(b"{}x")
    assert "head.json" in log.verify()[0]
    log.append(AuditEvent.SERVICE_STARTED)
    log.append(AuditEvent.SERVICE_STOPPED)

    assert [entry.event for entry in log.entries(last=3)] == ["audit_damaged", "service_started", "service_stopped"]
    (finding,) = log.verify()
    assert "line 7: the log was found damaged then: " in finding


def test_a_log_whose_end_was_cut_goes_on_behind_the_entry_that_its_head_names(log: AuditLog, tmp_path: Path) -> None:
    edit_lines(tmp_path / "audit", lambda lines: [*lines[:3], lines[3][:50]])
    log.append(AuditEvent.SERVICE_STARTED)

    assert [entry.seq for entry in log.entries()] == [1, 2, 3, 7, 8]
    assert any("line 5: is entry 7, expected" in finding for finding in log.verify())


@pytest.mark.parametrize("name", [b"d", b"digits-and-more"])
def test_a_line_that_someone_made_longer_or_shorter_costs_no_other_line(
    log: AuditLog, tmp_path: Path, name: bytes
) -> None:
    edit_lines(tmp_path / "audit", lambda lines: [lines[0], lines[1].replace(b"digits", name), *lines[2:]])
    log.append(AuditEvent.SERVICE_STARTED)

    assert [entry.seq for entry in log.entries()] == [1, 2, 3, 4, 5, 6, 7, 8]
    changed, recorded = log.verify()
    assert "line 2: was changed" in changed
    assert "line 7: the log was found damaged then: entry 6 did not end at byte" in recorded


def test_lines_that_someone_added_are_kept_and_named(log: AuditLog, tmp_path: Path) -> None:
    filled(tmp_path / "longer", 9)
    shutil.copy(tmp_path / "longer" / FIRST, tmp_path / "audit" / FIRST)
    log.append(AuditEvent.SERVICE_STARTED)

    assert [entry.seq for entry in log.entries()] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 7, 8]
    assert "line 10: is entry 7, expected 10" in log.verify()[0]


@pytest.mark.parametrize("torn", [b"x", b'{"boot_id":"boot-1","event"', b"\0" * 700, b"\0" * 300 + b"end\n"])
def test_a_torn_line_is_cut_and_recorded(log: AuditLog, tmp_path: Path, torn: bytes) -> None:
    with (tmp_path / "audit" / FIRST).open("ab") as stream:
        stream.write(torn)
    head = log.recover()

    assert head.seq == 7
    assert log.recover() == head
    (entry,) = log.entries(last=1)
    assert (entry.event, entry.facts["bytes"]) == ("audit_line_cut", len(torn))
    assert log.verify() == []


def test_a_line_that_is_whole_though_the_head_does_not_name_it_stays(tmp_path: Path) -> None:
    log = filled(tmp_path / "audit", 3)
    head = (tmp_path / "audit" / "head.json").read_bytes()
    log.append(AuditEvent.SERVICE_STARTED)
    (tmp_path / "audit" / "head.json").write_bytes(head)
    assert log.verify() == []
    log.append(AuditEvent.SERVICE_STOPPED)

    assert [entry.event for entry in log.entries(last=2)] == ["service_started", "service_stopped"]
    assert log.verify() == []


def test_the_first_line_may_be_torn_too(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / FIRST).write_bytes(b'{"boot')
    log = open_log(tmp_path / "audit")
    log.append(AuditEvent.SERVICE_STARTED)

    assert [entry.event for entry in log.entries()] == ["audit_line_cut", "service_started"]
    assert log.verify() == []


def test_the_size_is_bounded_and_what_is_dropped_is_recorded(tmp_path: Path) -> None:
    log = open_log(tmp_path / "audit", segment_bytes=2000, most_segments=3)
    for number in range(60):
        log.append(AuditEvent.SERVICE_STARTED, {"number": number})
        assert log.verify() == []

    files = sorted((tmp_path / "audit").glob("*.jsonl"))
    assert len(files) == 3
    assert all(file.stat().st_size < 3000 for file in files)
    dropped = [entry for entry in log.entries() if entry.event == "audit_dropped"]
    assert dropped[-1].facts["last_seq"] == log.entries()[0].seq - 1


def test_a_file_that_is_missing_without_a_record_of_it_is_named(tmp_path: Path) -> None:
    log = open_log(tmp_path / "audit", segment_bytes=1000)
    for _ in range(20):
        log.append(AuditEvent.SERVICE_STARTED)
    first, second, *_ = sorted((tmp_path / "audit").glob("*.jsonl"))
    kept = second.read_bytes()
    second.unlink()
    assert "lines were deleted" in log.verify()[0]
    second.write_bytes(kept)
    first.unlink()

    assert "the log begins with entry" in log.verify()[0]


def append_many(directory: Path, writer: int) -> None:
    log = AuditLog(directory, lambda: NOON)
    for number in range(25):
        log.append(AuditEvent.SERVICE_STARTED, {"writer": writer, "number": number})


@pytest.mark.slow
@pytest.mark.parametrize("pool", [ProcessPoolExecutor, ThreadPoolExecutor])
def test_writers_at_the_same_time_make_one_chain(
    tmp_path: Path, pool: type[ProcessPoolExecutor] | type[ThreadPoolExecutor]
) -> None:
    with pool(4) as executor:
        list(executor.map(append_many, [tmp_path / "audit"] * 4, range(4)))
    log = open_log(tmp_path / "audit")

    assert log.verify() == []
    entries = log.entries()
    assert [entry.seq for entry in entries] == list(range(1, 101))
    for writer in range(4):
        assert [entry.facts["number"] for entry in entries if entry.facts["writer"] == writer] == list(range(25))
