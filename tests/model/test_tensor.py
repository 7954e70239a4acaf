"""Names, datatypes, and the codec of BYTES tensors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import InvalidInput
from appliance.model.config import VersionPolicy
from appliance.model.datatype import Datatype
from appliance.model.identity import parse_digest, parse_model_name, parse_model_version
from appliance.model.lifecycle import wanted_versions
from appliance.model.tensor import TensorSpec, decode_bytes, encode_bytes, format_shape, object_array


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_bytes_tensors_survive_the_wire(elements):
    data = encode_bytes(object_array(elements))

    assert list(decode_bytes(memoryview(data), len(elements), "x")) == elements


@given(st.binary(max_size=40), st.integers(0, 5))
def test_any_bytes_are_a_tensor_of_that_size_or_refused(data, count):
    try:
        array = decode_bytes(memoryview(data), count, "x")
    except InvalidInput:
        return

    assert encode_bytes(array) == data


def test_all_fourteen_datatypes_have_both_names():
    assert len(Datatype) == 14
    assert Datatype.parse("TYPE_STRING") is Datatype.parse("BYTES") is Datatype.BYTES
    assert Datatype.parse("TYPE_BF16") is Datatype.BF16
    assert Datatype.from_onnx(16) is Datatype.BF16
    assert Datatype.from_onnx(17) is None


@pytest.mark.parametrize("name", ["a", "digits", "a.b-c_d", "7seg", "x" * 128])
def test_names_that_are_safe_file_names_are_accepted(name):
    assert parse_model_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "a\n", "ä", "-a", "x" * 129, "a@b", "a\0"])
def test_other_names_are_refused(name):
    with pytest.raises(InvalidInput, match="invalid model name"):
        parse_model_name(name)


@pytest.mark.parametrize("text", ["", "0", "01", "-1", "1.0", "x", "9" * 30, "\u0661"])
def test_versions_are_whole_numbers_from_one(text):
    with pytest.raises(InvalidInput, match="invalid model version"):
        parse_model_version(text)


def test_digests_are_sha256_in_lower_case():
    assert parse_digest("sha256:" + "a" * 64)
    with pytest.raises(InvalidInput):
        parse_digest("sha256:" + "A" * 64)


def test_a_spec_accepts_any_size_where_it_says_minus_one():
    spec = TensorSpec("x", Datatype.FP32, (3, -1))

    assert spec.accepts((3, 9))
    assert not spec.accepts((4, 9))
    assert not spec.accepts((3, 9, 1))


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ({}, [9]),
        ({"latest": {"num_versions": 2}}, [9, 4]),
        ({"all": {}}, [9, 4, 1]),
        ({"specific": {"versions": [1, 5]}}, [1]),
    ],
)
def test_a_version_policy_chooses_among_what_is_there(policy, wanted):
    assert wanted_versions(VersionPolicy.model_validate(policy), [1, 9, 4]) == wanted


def test_narrow_arrays_keep_their_bits():
    assert np.array([255], dtype="<u1").astype(Datatype.INT8.numpy)[0] == -1


def test_a_shape_is_written_as_tritons_and_a_very_long_one_only_begun():
    assert format_shape((-1, 16)) == "[-1,16]"
    assert format_shape([1] * 32) == "[" + ",".join(["1"] * 32) + "]"
    assert format_shape([1] * 500_000) == "[" + "1," * 32 + "... 500000 in all]"
