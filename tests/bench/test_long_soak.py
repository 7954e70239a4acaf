"""The long soak of the native transport: what is judged, and how it is told."""

import pytest
from benchmark.long_soak import LongSoakResult, Reading, judge, long_soak_section, read_junit
from benchmark.report import Machine

MEGABYTE = 10**6
MACHINE = Machine("2026-11-30", "a processor", 2, 25, "Linux 6.18", 0.5, {}, "54.0.0 of its own")


def result(*, tenths: list[float], files: int = 40, answered: int = 999_500) -> LongSoakResult:
    """150 MB after the warm-up, and so many after each tenth."""
    readings = [Reading(round(size * MEGABYTE), files, 12) for size in (150, *tenths)]
    return LongSoakResult(1_000_000, answered, 400, [Reading(150 * MEGABYTE, 40, 12), *readings[1:]])


STEADY = [160.0] * 10
GROWTH = "RSS of the last tenths above that of the first"


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (result(tenths=STEADY), []),
        (result(tenths=[200.0] * 10), []),  # what the first tenth took, the allocator keeps
        (
            result(tenths=[160.0 + 10 * number for number in range(10)]),
            [GROWTH],
        ),
        (result(tenths=STEADY, files=57), ["open files more than after the warm-up"]),
        (result(tenths=STEADY, answered=998_000), ["answered, and none of it wrong"]),
    ],
)
def test_memory_files_and_answers_are_judged(found, missed):
    assert [goal.text for goal in judge(found) if not goal.met] == missed


def test_the_section_has_a_row_for_each_tenth_and_names_what_would_be_seen():
    found = result(tenths=STEADY)

    section = long_soak_section(MACHINE, found, judge(found), "3 passed, in 120 s")

    assert "| the warm-up | 150.0 MB | 40 | 12 |" in section
    assert "| 1,000,000 requests | 160.0 MB | 40 | 12 |" in section
    assert "17 bytes lost for each request would miss" in section
    assert "(`tests/rpc/test_native_sanitizers.py`): 3 passed, in 120 s." in section


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ('tests="3" failures="0" errors="0" skipped="0"', "3 passed, in 12 s"),
        ('tests="3" failures="1" errors="0" skipped="2"', "0 passed, 1 failures, 2 skipped, in 12 s"),
    ],
)
def test_the_end_of_the_sanitizers_test_is_told_as_it_was(counts, words):
    assert read_junit(f'<testsuites><testsuite {counts} time="12.3"/></testsuites>') == words
