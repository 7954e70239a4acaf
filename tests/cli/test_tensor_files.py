"""Tensors from files: what is taken, and what is refused."""

import io
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from appliance.cli.bfloat16 import bits_of, values_of
from appliance.cli.json_tensor import array_of_json
from appliance.cli.tensor_files import WantedTensor, read_tensor
from appliance.errors import ApplianceError, InvalidInput
from appliance.model.datatype import Datatype


def wanted(datatype: Datatype, *shape: int, batched: bool = False) -> WantedTensor:
    return WantedTensor("x", datatype, shape, batched, channels_last=False)


def read(path: Path, tensor: WantedTensor, *, cast: bool = False):
    return read_tensor(path, tensor, lambda _: None, cast=cast)


@pytest.mark.parametrize("datatype", [kind for kind in Datatype if kind is not Datatype.BYTES])
def test_an_array_of_the_right_datatype_is_taken_as_it_is(tmp_path: Path, datatype: Datatype) -> None:
    array = np.arange(3).astype(datatype.numpy)
    np.save(tmp_path / "x.npy", array)

    found = read(tmp_path / "x.npy", wanted(datatype, 3))

    assert found.dtype == datatype.numpy
    np.testing.assert_array_equal(found, array)


def test_big_endian_and_column_major_arrays_hold_the_same_values(tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    np.save(tmp_path / "x.npy", array)

    found = read(tmp_path / "x.npy", wanted(Datatype.FP32, 2, 3))

    assert found.tobytes() == np.arange(6, dtype="<f4").tobytes()


def test_text_becomes_bytes(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array(["grün", "b"]))

    assert read(tmp_path / "x.npy", wanted(Datatype.BYTES, 2)).tolist() == ["grün".encode(), b"b"]


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)

    with pytest.raises(InvalidInput, match="is not an array"):
        read(tmp_path / "x.npy", wanted(Datatype.BYTES, 1))


def test_bfloat16_arrays_of_ml_dtypes_are_understood(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([1.5, -2], dtype=ml_dtypes.bfloat16))

    assert values_of(read(tmp_path / "x.npy", wanted(Datatype.BF16, 2))).tolist() == [1.5, -2]


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"not an array", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'"])
def test_files_that_are_no_arrays_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)

    with pytest.raises(InvalidInput, match=r"x\.npy"):
        read(tmp_path / "x.npy", wanted(Datatype.FP32, 1))


def test_an_archive_of_arrays_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(1))
    (tmp_path / "x.npy").write_bytes(stream.getvalue())

    with pytest.raises(InvalidInput, match="archive"):
        read(tmp_path / "x.npy", wanted(Datatype.FP32, 1))


def test_a_cast_does_not_let_values_overflow(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([300.0]))

    with pytest.raises(InvalidInput, match="do not fit into UINT8"):
        read(tmp_path / "x.npy", wanted(Datatype.UINT8, 1), cast=True)


def test_a_cast_to_bfloat16_rounds(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([1.00390625]))

    assert values_of(read(tmp_path / "x.npy", wanted(Datatype.BF16, 1), cast=True)).tolist() == [1.0]


def test_another_number_of_dimensions_is_refused_with_both_shapes(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 2), dtype=np.float32))

    with pytest.raises(InvalidInput, match=r"shape \[2,2\], but input 'x' expects \[-1,1,2,3\]"):
        read(tmp_path / "x.npy", wanted(Datatype.FP32, 1, 2, 3, batched=True))


@pytest.mark.parametrize(
    ("text", "datatype", "sentence"),
    [
        ("[1, 2", Datatype.INT8, "not valid JSON"),
        ("[" * 100_000, Datatype.INT8, "not valid JSON"),
        ("[[1, 2], [3]]", Datatype.INT8, "not even"),
        ("[[1, 2], 3]", Datatype.INT8, "not even"),
        ("[1, [2]]", Datatype.INT8, "nested more deeply"),
        ("[128]", Datatype.INT8, "128 is not a value of INT8"),
        ("[1.5]", Datatype.INT8, "1.5 is not a value of INT8"),
        ("[true]", Datatype.INT8, "True is not a value of INT8"),
        ("[true]", Datatype.FP32, "True is not a value of FP32"),
        ("[1]", Datatype.BOOL, "1 is not a value of BOOL"),
        ('["1"]', Datatype.FP32, "'1' is not a value of FP32"),
        ("[1]", Datatype.BYTES, "1 is not a value of BYTES"),
        ("[null]", Datatype.FP32, "None is not a value of FP32"),
        ("[1e6]", Datatype.FP16, "too large for FP16"),
    ],
)
def test_json_that_does_not_fit_is_refused(tmp_path: Path, text: str, datatype: Datatype, sentence: str) -> None:
    (tmp_path / "x.json").write_text(text)

    with pytest.raises(InvalidInput, match=sentence):
        read(tmp_path / "x.json", wanted(datatype, 1))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=20))
def test_no_document_does_anything_but_fit_or_be_refused(document: object) -> None:
    for datatype in Datatype:
        try:
            array = array_of_json(document, datatype, "x.json")
        except ApplianceError:
            continue
        assert array.dtype == datatype.numpy


@given(st.floats(width=32))
def test_bfloat16_rounds_as_ml_dtypes_does(value: float) -> None:
    found = values_of(bits_of(np.array([value], dtype=np.float32)))
    with np.errstate(over="ignore"):
        expected = np.array([value], dtype=np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)

    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("mode", "shape", "datatype", "sentence"),
    [
        ("I;16", (1, 2, 2), Datatype.FP32, "expected 8 bits a channel"),
        ("L", (2, 2, 2), Datatype.FP32, "expected .C,H,W."),
        ("L", (7,), Datatype.FP32, "expected .C,H,W."),
        ("L", (1, 2, 2), Datatype.INT64, "cannot become a tensor of INT64"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(
    tmp_path: Path, mode: str, shape: tuple[int, ...], datatype: Datatype, sentence: str
) -> None:
    Image.new(mode, (2, 2)).save(tmp_path / "x.png")

    with pytest.raises(InvalidInput, match=sentence):
        read(tmp_path / "x.png", wanted(datatype, *shape))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"not a picture"])
def test_files_that_are_no_pictures_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)

    with pytest.raises(InvalidInput, match=r"x\.png"):
        read(tmp_path / "x.png", wanted(Datatype.FP32, 1, 2, 2))


def test_a_picture_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
    (tmp_path / "x.png").write_bytes((tmp_path / "whole.png").read_bytes()[:600])

    with pytest.raises(InvalidInput, match=r"x\.png"):
        read(tmp_path / "x.png", wanted(Datatype.FP32, 1, 64, 64))


def test_a_grey_picture_is_scaled_to_one(tmp_path: Path) -> None:
    Image.new("L", (2, 2), 51).save(tmp_path / "x.png")

    found = read(tmp_path / "x.png", wanted(Datatype.FP32, 2, 2))

    np.testing.assert_allclose(found, np.full((2, 2), 0.2, dtype=np.float32))


def test_json_values_may_be_nested_as_deep_as_a_shape(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps([[[1.0, 2.0]]]))

    assert read(tmp_path / "x.json", wanted(Datatype.FP64, 1, 1, 2)).shape == (1, 1, 2)
