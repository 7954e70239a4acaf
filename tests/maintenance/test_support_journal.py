"""Journals and records of failures in a support bundle: what is kept, and how much was cut."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

from appliance.maintenance.support.incidents import incidents_content
from appliance.maintenance.support.journal import newest_entries
from appliance.maintenance.support.wording import Wording

PLAIN = Wording()
MOMENT_US = 1_795_474_254_000_000
RECORD = """unit: appliance.service
time: 2026-11-23T22:37:06Z, up for 812 s
Result=exit-code
ExecMainStatus=65
StatusText=READY; not served: digits version 1: found 'secret-words'
Environment=TOKEN=secret-words

A: software 0.1.0, 0a1b2c3d4e5f6071, current
B: empty

2026-11-23T22:37:05+0000 clinic-7 python3[88]: appliance.daemon.app: listening on 127.0.0.1:8001
2026-11-23T22:37:05+0000 clinic-7 python3[88]: the words of secret-words
2026-11-23T22:37:05+0000 clinic-7 python3[88]: Traceback (most recent call last):
                                                 File "/a/b.py", line 3, in run
                                               ValueError: secret-words
2026-11-23T22:37:06+0000 clinic-7 systemd[1]: appliance.service: Failed with result 'exit-code'.
"""


def entries(count: int) -> Iterator[bytes]:
    """What journalctl says, the newest first."""
    for number in range(count, 0, -1):
        entry = {
            "__REALTIME_TIMESTAMP": str(MOMENT_US + number * 1000),
            "MESSAGE": f"appliance.daemon.app: entry {number}",
            "PRIORITY": "6",
            "_SYSTEMD_UNIT": "appliance.service",
            "_PID": "88",
            "_BOOT_ID": "0123456789abcdef0123456789abcdef",
        }
        yield json.dumps(entry).encode() + b"\n"


def in_time() -> float:
    return time.monotonic() + 600


def test_of_a_large_journal_the_newest_entries_stay_in_order_and_the_rest_is_counted() -> None:
    room_bytes = 10_000
    content = newest_entries(entries(100_000), PLAIN, room_bytes, in_time())
    lines = content.data.decode().splitlines()

    assert 0 < len(content.data) <= room_bytes
    assert lines[-1].endswith("info appliance.service[88]: appliance.daemon.app: entry 100000")
    assert lines[0].endswith(f"entry {100_000 - len(lines) + 1}")
    assert content.cut == f"the oldest {100_000 - len(lines)} entries"


def test_a_journal_that_fits_is_whole() -> None:
    content = newest_entries(entries(3), PLAIN, 10_000, in_time())

    assert len(content.data.splitlines()) == 3
    assert content.cut == ""
    assert content.data.startswith(b"2026-11-23T22:50:54.001Z 01234567 info ")


def test_reading_has_an_end_and_says_so() -> None:
    content = newest_entries(entries(1000), PLAIN, 10_000, 0.0)

    assert len(content.data.splitlines()) == 1
    assert "too long" in content.cut


def test_what_is_no_text_or_no_entry_does_not_end_the_reading() -> None:
    odd = {"MESSAGE": list(b"appliance.x: \xff"), "PRIORITY": None, "_PID": "1", "__REALTIME_TIMESTAMP": "1"}
    content = newest_entries(
        [b"no json\n", json.dumps(odd).encode(), b'{"MESSAGE": null}\n'], PLAIN, 10_000, in_time()
    )

    assert rb"appliance.x: \xff" in content.data


def test_a_record_of_a_failure_keeps_facts_slots_and_cleaned_messages(tmp_path: Path) -> None:
    (tmp_path / "incident-20261123T223706Z.txt").write_text(RECORD)
    (tmp_path / "notes.txt").write_text("secret-words")
    told = incidents_content(tmp_path, PLAIN, 10_000).data.decode()

    assert "secret-words" not in told
    assert "clinic-7" not in told
    for kept in (
        "== incident-20261123T223706Z.txt",
        "ExecMainStatus=65",
        "A: software 0.1.0",
        "2026-11-23T22:37:05+0000 python3[88]: appliance.daemon.app: listening on 127.0.0.1:8001",
        'File "/a/b.py", line 3, in run',
        "ValueError (withheld)",
        "systemd[1]: appliance.service: Failed with result 'exit-code'.",
    ):
        assert kept in told


def test_of_many_records_the_newest_stay(tmp_path: Path) -> None:
    for day in range(10, 30):
        (tmp_path / f"incident-202611{day}T000000Z.txt").write_text(RECORD)
    content = incidents_content(tmp_path, PLAIN, 3000)

    assert len(content.data) <= 3000
    assert b"== incident-20261129T000000Z.txt" in content.data
    assert b"== incident-20261110T000000Z.txt" not in content.data
    assert content.cut.startswith("the oldest ")
    assert content.cut.endswith(" of 20 records")
