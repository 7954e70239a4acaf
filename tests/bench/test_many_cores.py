"""What more cores could do, on paper."""

import pytest
from benchmark.many_cores import Costs
from benchmark.threads import IO, LOOP, OTHERS, ThreadCosts, threads_section

TINY = Costs(loop_us=30, io_us=10, others_us=2, runtime_us=0)
COMPUTING = Costs(loop_us=80, io_us=30, others_us=1550, runtime_us=1450)


@pytest.mark.parametrize(("cores", "expected"), [(1, 1e6 / 42), (2, 1e6 / 32), (16, 1e6 / 32)])
def test_one_core_is_limited_by_all_that_is_done_and_many_by_what_is_serial(cores, expected):
    assert TINY.requests_per_s(cores) == pytest.approx(expected)


def test_threads_of_instances_hold_the_lock_whenever_they_are_not_in_the_runtime():
    assert COMPUTING.lock_us == 80 + 1550 - 1450
    assert COMPUTING.requests_per_s(1000) == pytest.approx(1e6 / 180)


@pytest.mark.parametrize("cores", [1, 2, 4, 8])
def test_what_computes_grows_with_the_cores_until_then(cores):
    assert COMPUTING.requests_per_s(cores) == pytest.approx(cores * 1e6 / 1660)


def test_a_runtime_on_the_event_loop_leaves_the_loop_the_limit():
    """There it releases the lock, but the thread is taken all the same."""
    costs = Costs(loop_us=200, io_us=90, others_us=30, runtime_us=100)

    assert costs.lock_us == 130
    assert costs.serial_us == 200


def test_a_runtime_that_was_cheaper_in_the_daemon_than_alone_makes_no_time_negative():
    assert Costs(loop_us=1, io_us=1, others_us=1, runtime_us=5).lock_us == 0


def test_instances_are_as_many_as_the_rate_keeps_busy():
    assert TINY.instances(16) == 1
    assert COMPUTING.instances(2) == 2
    assert COMPUTING.instances(16) == 9  # 5,556 a second, 1.45 ms each


def test_the_tables_have_a_row_for_each_case_and_say_what_is_assumed():
    result = ThreadCosts("cnn-c8", 650, 4.0, {LOOP: 80, IO: 30, OTHERS: 1550}, 1450)

    section = threads_section("Measured.", [result])

    assert "| cnn-c8 | 650 | 4.0 | 80.0 us | 30.0 us | 1,550.0 us | 1,450.0 us | 180.0 us |" in section
    assert "| cnn-c8 | 602 | 1,205 | 2,410 | 4,819 | 5,556 | 9 |" in section
    assert "load\ngenerator is elsewhere" in section
