"""How much of a stream is held at once; no daemon, no network."""

import asyncio

import pytest

from appliance.rpc.stream_window import LARGEST_BYTES, LARGEST_COUNT, StreamWindow

MIB = 1024 * 1024


def fill(window, size_bytes):
    """Take requests of this size until there is no room; return what each counts for."""
    counted = []
    while window.has_room:
        counted.append(window.take_request(size_bytes))
    return counted


def test_there_is_room_for_so_many_requests_of_any_size_below_their_share():
    assert len(fill(StreamWindow(), 100)) == LARGEST_COUNT


@pytest.mark.parametrize("size_bytes", [MIB, 5 * MIB, 63 * MIB])
def test_larger_requests_are_held_by_their_bytes(size_bytes):
    assert len(fill(StreamWindow(), size_bytes)) == -(-LARGEST_BYTES // size_bytes)


def test_of_requests_larger_than_the_window_one_is_held():
    window = StreamWindow()

    (counted,) = fill(window, 256 * MIB)
    window.put_answer(10, counted)

    assert window.has_room


def test_answers_that_wait_are_held_until_they_are_given():
    window = StreamWindow()
    for counted in fill(window, MIB):
        window.put_answer(2 * MIB, counted)

    held = [window.has_room]
    for _ in range(32):
        window.give_answer(2 * MIB)
        held.append(window.has_room)
    window.give_answer(2 * MIB)

    assert not any(held)
    assert window.has_room


def test_small_requests_count_for_the_answer_before_them():
    window = StreamWindow()
    window.put_answer(MIB, window.take_request(100))

    assert len(fill(window, 100)) == 63


def test_one_large_answer_does_not_narrow_the_window_for_good():
    window = StreamWindow()
    window.put_answer(128 * MIB, window.take_request(100))
    window.give_answer(128 * MIB)
    window.put_answer(100, window.take_request(100))

    assert len(fill(window, 100)) == LARGEST_COUNT - 1


def test_who_waits_for_room_goes_on_when_there_is_some():
    async def scenario():
        window = StreamWindow()
        counted = window.take_request(LARGEST_BYTES)
        waiting = asyncio.create_task(window.wait_for_room())
        await asyncio.sleep(0)
        before = waiting.done()
        window.put_answer(LARGEST_BYTES, counted)
        await asyncio.sleep(0)
        between = waiting.done()
        window.give_answer(LARGEST_BYTES)
        async with asyncio.timeout(10):
            await waiting
        return before, between

    assert asyncio.run(scenario()) == (False, False)
