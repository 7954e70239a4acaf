"""Which requests may be computed on the event loop."""

import numpy as np

from appliance.serving.direct_path import LARGEST_BYTES, LONGEST_NS, DirectMeter, DirectPath

QUICK, SLOW = LONGEST_NS // 2, 10 * LONGEST_NS


def observed(*took_ns):
    meter = DirectMeter()
    for each in took_ns:
        meter.observe(each)
    return meter


def test_a_form_of_request_is_trusted_after_it_was_quick_several_times_in_a_row():
    assert not observed().trusted
    assert not observed(*[QUICK] * 7).trusted
    assert observed(*[QUICK] * 8).trusted
    assert not observed(*[QUICK] * 7, SLOW, QUICK).trusted


def test_one_slow_computation_sends_it_back_to_the_workers():
    meter = observed(*[QUICK] * 100)

    meter.observe(SLOW, direct=True)

    assert not meter.trusted


def test_after_each_slow_computation_it_has_to_be_quick_twice_as_often():
    meter = observed(*[QUICK] * 8)
    waits = []
    for _ in range(4):
        meter.observe(SLOW, direct=True)
        waits.append(0)
        while not meter.trusted:
            meter.observe(QUICK)
            waits[-1] += 1

    assert waits == [16, 32, 64, 128]


def test_a_pause_of_the_machine_costs_one_trip_to_a_worker():
    meter = observed(*[QUICK] * 100)
    meter.observe(2 * LONGEST_NS, direct=True)

    assert not meter.trusted

    meter.observe(QUICK)
    assert meter.trusted


def test_large_requests_always_go_to_a_worker():
    trusted = observed(*[QUICK] * 8)

    assert DirectPath.suits({"x": np.zeros(LARGEST_BYTES, dtype="u1")}, trusted)
    assert not DirectPath.suits({"x": np.zeros(LARGEST_BYTES + 1, dtype="u1")}, trusted)
