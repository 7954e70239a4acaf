"""Reading safetensors files to the end, before a library opens them."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.sources.weights import check_weights
from tests.support.huggingface_files import LFS_POINTER, entry, write_raw, write_safetensors

CHUNK_BYTES = 4 * 1024 * 1024
F32_ONE = struct.pack("<f", 1.0)


def refusal(file: Path) -> ConversionRefused:
    with pytest.raises(ConversionRefused) as refused:
        check_weights([file])
    assert refused.value.hint
    return refused.value


def test_good_weights_are_summed_up(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_safetensors(first, {"a": np.ones((2, 3), np.float32), "scalar": np.float32(1).reshape(())})
    write_safetensors(second, {"b": np.ones(4, np.float16), "ids": np.arange(5), "none": np.ones((0, 7), np.float32)})

    summary = check_weights([first, second])

    assert (summary.tensors, summary.parameters, summary.size_bytes) == (5, 16, 28 + 8 + 40)
    assert summary.dtypes == {"F16": 1, "F32": 3, "I64": 1}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_found(tmp_path: Path, dtype: type, value: float) -> None:
    weights = np.full(100, np.finfo(dtype).max, dtype)
    weights[[17, 99]] = value
    write_safetensors(tmp_path / "w.safetensors", {"good": np.ones(3, dtype), "encoder.bad": weights})

    refused = refusal(tmp_path / "w.safetensors")

    assert refused.reason is Reason.NAN_WEIGHTS
    assert "1 of 2 tensors hold NaN or infinite values: encoder.bad (2)" in refused.message


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        ("BF16", b"\x80\x3f\x7f\x7f", b"\x80\x7f"),
        ("BF16", b"\x80\x3f\x7f\x7f", b"\xc0\xff"),
        ("F8_E4M3", b"\x01\x7e\xfe\x78", b"\xff"),
        ("F8_E5M2", b"\x01\x7b\xfb\x04", b"\x7c"),
        ("F8_E8M0", b"\x01\x00\xfe\x7f", b"\xff"),
    ],
)
def test_types_that_numpy_does_not_know_are_read_too(tmp_path: Path, dtype: str, good: bytes, bad: bytes) -> None:
    items = len(good) // len(bad)
    write_raw(tmp_path / "good.safetensors", {"a": entry(dtype, [items], 0, len(good))}, good)
    write_raw(tmp_path / "bad.safetensors", {"a": entry(dtype, [items + 1], 0, len(good + bad))}, good + bad)

    assert check_weights([tmp_path / "good.safetensors"]).parameters == items
    assert "a (1)" in refusal(tmp_path / "bad.safetensors").message


def test_many_bad_tensors_are_counted_and_the_first_named(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "w.safetensors", {f"layer.{n}": np.array([np.nan], np.float32) for n in range(5)})

    message = refusal(tmp_path / "w.safetensors").message

    assert message.startswith("5 of 5 tensors")
    assert message.endswith("layer.0 (1), layer.1 (1), layer.2 (1) ...")


@pytest.mark.parametrize("place", [0, CHUNK_BYTES // 4 - 1, CHUNK_BYTES // 4, -1])
def test_no_chunk_is_left_out(tmp_path: Path, place: int) -> None:
    weights = np.ones(3 * CHUNK_BYTES // 4 + 5, np.float32)
    weights[place] = np.nan
    write_safetensors(tmp_path / "w.safetensors", {"a": weights})

    assert "a (1)" in refusal(tmp_path / "w.safetensors").message


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    file, size_bytes = tmp_path / "w.safetensors", 16 * CHUNK_BYTES
    write_raw(file, {"a": entry("F32", [size_bytes // 4], 0, size_bytes)}, F32_ONE)
    with file.open("r+b") as stream:  # the rest is a hole that takes no room on the disk
        stream.truncate(file.stat().st_size - len(F32_ONE) + size_bytes)
    tracemalloc.start()
    try:
        check_weights([file])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 8 * CHUNK_BYTES


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_model_of_zeros_proves_nothing(tmp_path: Path, zero: float) -> None:
    write_safetensors(tmp_path / "w.safetensors", {"a": np.full(9, zero, np.float32), "ids": np.arange(4)})

    refused = refusal(tmp_path / "w.safetensors")

    assert refused.reason is Reason.VACUOUS
    assert "all weights are zero (2 tensors)" in refused.message


def test_one_shard_of_zeros_among_others_is_fine(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_safetensors(first, {"a": np.zeros(3, np.float32)})
    write_safetensors(second, {"b": np.array([0, 1e-40], np.float32)})

    assert check_weights([first, second]).tensors == 2


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    write_raw(tmp_path / "w.safetensors", {"__metadata__": {"format": "pt"}}, b"")

    refused = refusal(tmp_path / "w.safetensors")

    assert refused.reason is Reason.NO_WEIGHTS
    assert "no tensors" in refused.message


@pytest.mark.parametrize(
    ("entries", "data", "said"),
    [
        (b"{", b"", "has a broken header"),
        (b"[]", b"", "found a list, expected an object"),
        (b"[" * 200_000, b"", "has a broken header"),
        (b"\xff\xfe\xfd", b"", "has a broken header"),
        (b'{"a": {}, "a": {}}', b"", "a name stands twice"),
        ({"a": {"dtype": "F32"}}, F32_ONE, "says too little about 'a'"),
        ({"a": 7}, F32_ONE, "says too little about 'a'"),
        ({"a": entry("F32", [1], 0, 4) | {"data_offsets": [0]}}, F32_ONE, "says too little about 'a'"),
        ({"a": entry("Q4", [1], 0, 4)}, F32_ONE, "holds 'a' as 'Q4': expected one of BOOL"),
        ({"a": entry("F32", [-1], 0, 4)}, F32_ONE, "impossible shape"),
        ({"a": entry("F32", [1.0], 0, 4)}, F32_ONE, "impossible shape"),
        ({"a": entry("F32", [2], 0, 4)}, F32_ONE, "holds 4 bytes for 'a': F32 [2] needs 8"),
        ({"a": entry("F32", [1 << 62, 1 << 62], 0, 4)}, F32_ONE, "needs"),
        ({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4)}, F32_ONE, "'b' overlaps another tensor"),
        ({"a": entry("F32", [2], 0, 8), "b": entry("F32", [1], 4, 8)}, F32_ONE * 2, "'b' overlaps another tensor"),
        ({"a": entry("F32", [1], 4, 8)}, F32_ONE * 2, "'a' leaves bytes before it unexplained"),
        ({"a": entry("F32", [1], -8, -4)}, F32_ONE, "'a' overlaps another tensor"),
        ({"a": entry("F32", [2], 0, 8)}, F32_ONE, "is cut off: its tensors need"),
        ({"a": entry("F32", [1], 0, 4)}, F32_ONE * 2, "4 bytes after the last tensor"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, entries: object, data: bytes, said: str) -> None:
    write_raw(tmp_path / "w.safetensors", entries, data)

    refused = refusal(tmp_path / "w.safetensors")

    assert refused.reason is Reason.NO_WEIGHTS
    assert said in refused.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has 0 bytes: too short"),
        (b"1234567", "has 7 bytes: too short"),
        (struct.pack("<Q", 1 << 63) + b"{}", "announces a header of 9223372036854775808 bytes"),
        (struct.pack("<Q", 1000) + b"{}", "its header needs 1008 bytes, found 10"),
        (LFS_POINTER.encode(), "is a git-lfs pointer"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)

    refused = refusal(tmp_path / "w.safetensors")

    assert refused.reason is Reason.NO_WEIGHTS
    assert said in refused.message
