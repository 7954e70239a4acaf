"""Reading ahead of whoever writes: all of it, in order, in flat memory, and not for ever."""

import errno
import io
import os
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.updates.read_ahead import chunks


class RottenSector(io.RawIOBase):
    """Gives what it has, then a read error, as a stick with a bad sector does."""

    def __init__(self, good: bytes) -> None:
        self._good = good

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any buffer will do
        if not self._good:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        count = min(len(buffer), len(self._good))
        buffer[:count], self._good = self._good[:count], self._good[count:]
        return count


def readers() -> int:
    return sum(thread.name == "medium-reader" for thread in threading.enumerate())


def wait_until_gone() -> None:
    for thread in threading.enumerate():
        if thread.name == "medium-reader":
            thread.join(10)


@pytest.mark.parametrize("size_bytes", [0, 1, 15, 16, 17, 1000])
def test_all_bytes_come_in_their_order(tmp_path: Path, size_bytes: int) -> None:
    data = bytes(number % 251 for number in range(size_bytes))
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb", buffering=0) as stream:
        found = b"".join(bytes(piece) for piece in chunks(stream, chunk_bytes=16))

    assert found == data


def test_a_piece_stays_as_it_is_until_the_next_one_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * 16 + b"b" * 16 + b"c" * 16 + b"d" * 16)
    with (tmp_path / "file").open("rb", buffering=0) as stream:
        for expected, piece in zip(b"abcd", chunks(stream, chunk_bytes=16), strict=True):
            time.sleep(0.01)  # the reading thread is ahead by now

            assert bytes(piece) == bytes([expected]) * 16


def test_a_bad_sector_is_an_error_and_not_the_end() -> None:
    got = []
    with pytest.raises(UpdateRefused, match="Input/output error") as caught:
        got.extend(bytes(piece) for piece in chunks(RottenSector(b"x" * 20), chunk_bytes=16))

    assert caught.value.reason is Refusal.MEDIUM_IO
    assert got == [b"x" * 16, b"x" * 4]


def test_a_reader_who_has_had_enough_leaves_no_thread_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1000))
    with (tmp_path / "file").open("rb", buffering=0) as stream:
        pieces = chunks(stream, chunk_bytes=16)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]  # it is a generator
        wait_until_gone()

    assert readers() == 0


def test_memory_stays_flat_however_large_the_file_is(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        with (tmp_path / "file").open("rb", buffering=0) as stream:
            total = sum(len(piece) for piece in chunks(stream, chunk_bytes=1 << 20))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert total == 64 << 20
    assert peak < 4 << 20
