"""`appliance infer`, against a real daemon."""

import json

import numpy as np
import pytest
from PIL import Image

from appliance.model.datatype import Datatype
from tests.cli.terminal import MODELS, WIDTH, Terminal

SEVEN = MODELS / "digits" / "golden" / "seven.png"

VALUES = {
    Datatype.BOOL: [[True, False]],
    Datatype.BYTES: [["grün", "b"]],
    Datatype.UINT64: [[0, 2**64 - 1]],
    Datatype.INT64: [[-(2**63), 2**63 - 1]],
    Datatype.FP16: [[0.5, -65504.0]],
    Datatype.FP32: [[0.5, "Infinity"]],
    Datatype.FP64: [[0.1, 1e300]],
    Datatype.BF16: [[0.5, -2.0]],
}


def test_a_picture_is_answered_with_its_best_labels(serving: Terminal) -> None:
    result = serving.appliance("infer", "digits", "--input", SEVEN)

    header, best, *others = result.out.splitlines()
    assert header.split() == ["OUTPUT", "ROW", "LABEL", "VALUE"]
    assert best.split()[:3] == ["logits", "0", "7"]
    assert len(others) == 2
    assert "digits version 1 at unix:" in result.story
    assert result.widest <= WIDTH


def test_as_json_everything_is_there(serving: Terminal) -> None:
    answer = serving.appliance("infer", "digits", "--input", f"pixel_values={SEVEN}", "--top", "1", "--json").json

    (output,) = answer["outputs"]
    assert (output["datatype"], output["shape"]) == ("FP32", [1, 10])
    assert len(output["values"][0]) == 10
    assert [best["label"] for best in output["classes"][0]] == ["7"]


def test_without_best_classes_values_are_shown_shortened(serving: Terminal) -> None:
    result = serving.appliance("infer", "digits", "--input", SEVEN, "--top", "0")

    assert "[1,10]" in result.out
    assert "..." in result.out


@pytest.mark.parametrize("datatype", Datatype, ids=lambda datatype: datatype.wire_name)
def test_every_datatype_goes_in_and_comes_out_as_it_is(serving: Terminal, tmp_path, datatype: Datatype) -> None:
    values = VALUES.get(datatype, [[0, 100]])
    file = tmp_path / "x.json"
    file.write_text(json.dumps([[1e999 if value == "Infinity" else value for value in row] for row in values]))

    answer = serving.appliance("infer", f"same-{datatype.wire_name.lower()}", "--input", file, "--json").json

    assert answer["outputs"][0]["datatype"] == datatype.wire_name
    assert answer["outputs"][0]["values"] == values


def test_an_array_of_another_datatype_is_refused_with_both_names(serving: Terminal, tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 32, 32)))

    result = serving.appliance("infer", "digits", "--input", tmp_path / "x.npy", code=1)

    assert "holds FP64, but input 'pixel_values' expects FP32" in result.story
    assert "--cast" in result.story


def test_an_array_of_another_datatype_is_converted_when_asked(serving: Terminal, tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 32, 32)))

    result = serving.appliance("infer", "digits", "--input", tmp_path / "x.npy", "--cast")

    assert "converted from FP64 to FP32" in result.story


def test_a_single_row_gets_a_batch_dimension_and_this_is_told(serving: Terminal, tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 32, 32), dtype=np.float32))

    result = serving.appliance("infer", "digits", "--input", tmp_path / "x.npy")

    assert "[1,32,32] becomes [1,1,32,32]" in result.story


def test_a_coloured_picture_becomes_bytes_with_channels_last(serving: Terminal, tmp_path) -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    Image.fromarray(pixels).save(tmp_path / "x.png")

    answer = serving.appliance("infer", "rgb-last", "--input", tmp_path / "x.png", "--json")

    assert answer.json["outputs"][0]["values"] == pixels.tolist()
    assert "resized" not in answer.story


def test_a_picture_of_another_size_is_resized_and_this_is_told(serving: Terminal, tmp_path) -> None:
    Image.new("L", (20, 10), 255).save(tmp_path / "x.jpg")

    result = serving.appliance("infer", "rgb-last", "--input", tmp_path / "x.jpg", "--json")

    assert "resized from 20x10 to 6x4 pixels" in result.story
    assert np.shape(result.json["outputs"][0]["values"]) == (4, 6, 3)


def test_a_model_without_a_fixed_size_gets_the_picture_as_it_is(serving: Terminal, tmp_path) -> None:
    Image.new("RGB", (5, 2), (255, 0, 51)).save(tmp_path / "x.png")

    answer = serving.appliance("infer", "rgb-first", "--input", tmp_path / "x.png", "--json").json

    assert answer["outputs"][0]["shape"] == [3, 2, 5]
    assert np.array(answer["outputs"][0]["values"])[:, 0, 0] == pytest.approx([1, 0, 0.2])


def test_several_inputs_are_given_by_name(serving: Terminal, tmp_path) -> None:
    (tmp_path / "a.json").write_text("[1, 2]")
    (tmp_path / "b.json").write_text("[10, 20]")
    inputs = ["--input", f"a={tmp_path}/a.json", "--input", f"b={tmp_path}/b.json"]

    every = serving.appliance("infer", "two-inputs", *inputs, "--json").json
    one = serving.appliance("infer", "two-inputs", *inputs, "--output", "difference", "--json").json

    assert [output["values"] for output in every["outputs"]] == [[11, 22], [-9, -18]]
    assert [output["name"] for output in one["outputs"]] == ["difference"]


def test_an_input_without_a_name_is_refused_where_there_are_several(serving: Terminal, tmp_path) -> None:
    (tmp_path / "a.json").write_text("[1, 2]")

    result = serving.appliance("infer", "two-inputs", "--input", tmp_path / "a.json", code=1)

    assert "it takes: a INT32 [2], b INT32 [2]" in result.story


def test_without_an_input_the_model_s_inputs_are_named(serving: Terminal) -> None:
    result = serving.appliance("infer", "digits", code=1)

    assert "pixel_values FP32 [-1,1,32,32]" in result.story
    assert "appliance infer digits --input pixel_values=FILE" in result.story


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nonesuch", "--input", str(SEVEN)], "'nonesuch' is not found"),
        (["digits", "--input", "none.npy"], "none.npy does not exist"),
        (["digits", "--input", "pixels=none.npy"], "has no input 'pixels', it takes: pixel_values FP32 [-1,1,32,32]"),
        (["digits", "--input", str(MODELS / "digits" / "labels.txt")], "expected one of .npy, .json, .png"),
        (["digits", "--input", str(SEVEN), "--version", "9"], "version 9"),
        (["digits", "--input", str(SEVEN), "--version", "new"], "expected a whole number"),
        (["digits", "--input", str(SEVEN), "--output", "nonesuch"], "unexpected inference output 'nonesuch'"),
        (["broken", "--input", str(SEVEN)], "broken"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(serving: Terminal, words: list[str], sentence: str) -> None:
    result = serving.appliance("infer", *words, code=1)

    assert sentence in result.story
    assert "next: " in result.err
    assert result.out == ""
    assert result.widest <= WIDTH


def test_an_address_is_used_instead_of_the_socket(serving: Terminal, terminal: Terminal) -> None:
    listener = serving.appliance("status", "--json").json["listeners"][0]

    result = terminal.appliance("infer", "digits", "--input", SEVEN, "--address", listener)

    assert f"at {listener}" in result.story


def test_an_address_that_is_none_is_wrong_usage(terminal: Terminal) -> None:
    terminal.appliance("infer", "digits", "--address", "nonsense", code=2)


def test_without_a_daemon_it_ends_with_three(terminal: Terminal) -> None:
    result = terminal.appliance("infer", "digits", "--input", SEVEN, "--address", "127.0.0.1:1", code=3)

    assert "connection refused" in result.story
    assert "next: " in result.err


def test_a_proxy_is_not_asked(serving: Terminal) -> None:
    listener = serving.appliance("status", "--json").json["listeners"][0]
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://127.0.0.1:1")

    serving.appliance("infer", "digits", "--input", SEVEN, "--address", listener, environment=proxies)
