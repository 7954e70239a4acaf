"""Which requests may be computed on the event loop."""

import pytest

from appliance.serving.direct_path import SHORT_NS, TINY_NS, DirectMeter, Meter

LIMIT_NS = 1000
QUICK, SLOW = LIMIT_NS // 2, 10 * LIMIT_NS


def observed(*took_ns):
    meter = Meter(LIMIT_NS)
    for each in took_ns:
        meter.observe(each, direct=False, joined=False)
    return meter


def test_a_form_of_request_is_trusted_after_it_was_quick_several_times_in_a_row():
    assert not observed().trusted
    assert not observed(*[QUICK] * 7).trusted
    assert observed(*[QUICK] * 8).trusted
    assert not observed(*[QUICK] * 7, SLOW, QUICK).trusted


def test_one_slow_computation_sends_it_back_to_the_workers():
    meter = observed(*[QUICK] * 100)

    meter.observe(SLOW, direct=True, joined=False)

    assert not meter.trusted


def test_after_each_slow_computation_it_has_to_be_quick_twice_as_often():
    meter = observed(*[QUICK] * 8)
    waits = []
    for _ in range(4):
        meter.observe(SLOW, direct=True, joined=False)
        waits.append(0)
        while not meter.trusted:
            meter.observe(QUICK, direct=False, joined=False)
            waits[-1] += 1

    assert waits == [16, 32, 64, 128]


def test_a_pause_of_the_machine_costs_one_trip_to_a_worker():
    meter = observed(*[QUICK] * 100)
    meter.observe(2 * LIMIT_NS, direct=True, joined=False)

    assert not meter.trusted

    meter.observe(QUICK, direct=False, joined=False)
    assert meter.trusted


def test_what_a_whole_batch_took_says_nothing_against_one_of_its_requests():
    meter = observed(*[QUICK] * 8)

    meter.observe(SLOW, direct=False, joined=True)

    assert meter.trusted


def test_however_long_it_was_slow_it_may_return():
    meter = observed(*[2 * LIMIT_NS] * 1000, *[QUICK] * 8)

    assert meter.trusted


@pytest.mark.parametrize(
    ("took_ns", "among_others", "alone"),
    [(TINY_NS, True, True), (TINY_NS + 1, False, True), (SHORT_NS, False, True), (SHORT_NS + 1, False, False)],
)
def test_alone_a_request_may_take_longer(took_ns, among_others, alone):
    meter = DirectMeter()
    for _ in range(8):
        meter.observe(took_ns)

    assert meter.trusts(alone=False) is among_others
    assert meter.trusts(alone=True) is alone
