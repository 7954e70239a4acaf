"""Looking at a Hugging Face directory before anything is loaded from it."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.convert.refusal import Reason
from tests.convert.source_reading import read, refusal
from tests.support.huggingface_files import LFS_POINTER, write_directory, write_json, write_safetensors


def make_sharded(directory: Path, weight_map: object) -> Path:
    write_directory(directory)
    (directory / "model.safetensors").unlink()
    write_json(directory / "model.safetensors.index.json", {"weight_map": weight_map})
    for shard in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        write_safetensors(directory / shard, {shard: np.ones(2, np.float32)})
    return directory


def test_a_complete_directory_is_described(tmp_path: Path) -> None:
    source = read(write_directory(tmp_path / "bert", num_labels=2))

    assert source.directory == (tmp_path / "bert").resolve()
    assert (source.architecture, source.model_type) == ("BertForSequenceClassification", "bert")
    assert source.config["num_labels"] == 2
    assert source.weights == (source.directory / "model.safetensors",)
    assert not source.pickled
    assert source.card is None


def test_the_card_and_every_file_that_a_loader_reads_have_digests_and_others_have_none(tmp_path: Path) -> None:
    write_directory(tmp_path)
    for name in ("vocab.txt", "tokenizer.json", "spiece.model", "chat_template.jinja"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "README.md").write_text("# bert")
    for name in ("training.log", ".hidden.json", "pytorch_model.bin", "tf_model.h5"):
        (tmp_path / name).write_text("unused")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "config.json").write_text("{}")

    source = read(tmp_path)
    digests = source.digests

    assert source.card == source.directory / "README.md"
    expected = [
        "README.md",
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "spiece.model",
        "tokenizer.json",
    ]
    assert list(digests) == [*expected, "vocab.txt"]
    content = (tmp_path / "model.safetensors").read_bytes()
    assert digests["model.safetensors"] == f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_a_file_is_no_hugging_face_directory(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()

    refused = refusal(tmp_path / "model.onnx")

    assert refused.reason is Reason.NO_CONFIG
    assert "model.onnx is a file" in refused.message


def test_a_hub_id_is_refused() -> None:
    assert refusal(Path("google/vit-base")).reason is Reason.HUB_ID


def test_a_directory_without_configuration_is_refused(tmp_path: Path) -> None:
    refused = refusal(tmp_path)

    assert refused.reason is Reason.NO_CONFIG
    assert "has no config.json" in refused.message


def test_an_adapter_is_refused_with_the_way_to_merge_it(tmp_path: Path) -> None:
    write_json(tmp_path / "adapter_config.json", {"peft_type": "LORA"})

    refused = refusal(tmp_path)

    assert refused.reason is Reason.NO_CONFIG
    assert "merge_and_unload" in refused.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": ', "config.json is not valid JSON"),
        (b"[]", "holds a list: expected an object"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested too deep: more than 32 levels"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"{}", "names no architecture: found 'architectures': None"),
        (b'{"architectures": []}', "names no architecture"),
        (b'{"architectures": "BertModel"}', "names no architecture"),
        (b'{"architectures": [7]}', "names no architecture"),
        (b'{"architectures": ["BertModel"]}', "names no model type"),
        (b'{"architectures": ["BertModel"], "model_type": ""}', "names no model type"),
    ],
)
def test_a_configuration_that_says_too_little_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    write_directory(tmp_path)
    (tmp_path / "config.json").write_bytes(content)

    refused = refusal(tmp_path)

    assert refused.reason is Reason.NO_CONFIG
    assert said in refused.message


def test_a_configuration_may_not_point_at_other_weights(tmp_path: Path) -> None:
    refused = refusal(write_directory(tmp_path, transformers_weights="../../elsewhere.safetensors"))

    assert refused.reason is Reason.NO_CONFIG
    assert "names other weights ('transformers_weights')" in refused.message


def test_weights_that_are_quantised_already_are_refused(tmp_path: Path) -> None:
    refused = refusal(write_directory(tmp_path, quantization_config={"quant_method": "gptq"}))

    assert refused.reason is Reason.UNSUPPORTED_ARCHITECTURE
    assert "quantised already" in refused.message


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "preprocessor_config.json"])
@pytest.mark.parametrize(
    ("code", "named"),
    [
        ({"auto_map": {"AutoModel": "modeling_own.OwnModel"}}, "'auto_map'"),
        ({"inner": [{"auto_map": {"AutoConfig": "own--configuration.Own"}}]}, "'auto_map'"),
        ({"custom_pipelines": {"own": {"impl": "own.Own"}}}, "'custom_pipelines'"),
        ({"loader": "load_own.py"}, "'load_own.py'"),
    ],
)
def test_a_model_that_brings_code_is_refused_always(
    tmp_path: Path, name: str, code: dict[str, Any], named: str
) -> None:
    write_directory(tmp_path)
    before = json.loads((tmp_path / name).read_text()) if (tmp_path / name).exists() else {}
    write_json(tmp_path / name, {**before, **code})

    refused = refusal(tmp_path, allow_pickle=True)

    assert refused.reason is Reason.REMOTE_CODE
    assert f"{name} names {named}" in refused.message


def test_a_word_of_the_vocabulary_is_no_code(tmp_path: Path) -> None:
    write_directory(tmp_path)
    write_json(tmp_path / "vocab.json", {"auto_map": 1, "setup.py": 2})

    assert "vocab.json" in read(tmp_path).digests


def test_shards_are_found_through_their_index(tmp_path: Path) -> None:
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    make_sharded(tmp_path, {"c": second, "a": first, "b": second})

    source = read(tmp_path)

    assert [file.name for file in source.weights] == [first, second]
    assert {first, second, "model.safetensors.index.json"} <= set(source.digests)


def test_one_file_is_preferred_to_shards_as_transformers_does(tmp_path: Path) -> None:
    make_sharded(tmp_path, {"a": "model-00001-of-00002.safetensors"})
    write_safetensors(tmp_path / "model.safetensors", {"a": np.ones(2, np.float32)})

    source = read(tmp_path)

    assert [file.name for file in source.weights] == ["model.safetensors"]
    assert "model.safetensors.index.json" not in source.digests


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    make_sharded(tmp_path, {"a": "model-00001-of-00002.safetensors", "b": "model-00003-of-00003.safetensors"})

    refused = refusal(tmp_path)

    assert refused.reason is Reason.NO_WEIGHTS
    assert "1 of 2 files" in refused.message
    assert "model-00003-of-00003.safetensors" in refused.message


@pytest.mark.parametrize(
    "weight_map",
    [None, [], {}, {"a": 1}, {"a": ["b"]}, {"a": "../elsewhere.safetensors"}, {"a": "/etc/passwd"}, {"a": "b\\c"}],
)
def test_an_index_that_names_no_files_of_the_directory_is_refused(tmp_path: Path, weight_map: object) -> None:
    make_sharded(tmp_path / "model", weight_map)
    write_safetensors(tmp_path / "elsewhere.safetensors", {"a": np.ones(2, np.float32)})

    refused = refusal(tmp_path / "model")

    assert refused.reason is Reason.NO_WEIGHTS
    assert refused.message.startswith("model.safetensors.index.json ")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl", "own.bin"])
def test_weights_that_can_run_code_are_refused(tmp_path: Path, name: str) -> None:
    write_directory(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / name)

    refused = refusal(tmp_path)

    assert refused.reason is Reason.PICKLE
    assert name in refused.message
    assert "--allow-pickle" in refused.hint


def test_a_pickle_is_accepted_on_the_persons_word_and_noted(tmp_path: Path) -> None:
    write_directory(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")

    source = read(tmp_path, allow_pickle=True)

    assert source.pickled
    assert source.weights == (source.directory / "pytorch_model.bin",)
    assert "pytorch_model.bin" in source.digests


def test_allowing_pickles_does_not_prefer_them(tmp_path: Path) -> None:
    write_directory(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")

    assert not read(tmp_path, allow_pickle=True).pickled


def test_an_allowed_pickle_that_transformers_would_not_find_is_refused(tmp_path: Path) -> None:
    write_directory(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "own.pt")

    refused = refusal(tmp_path, allow_pickle=True)

    assert refused.reason is Reason.NO_WEIGHTS
    assert "found own.pt" in refused.message


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    write_directory(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "training_args.bin").write_bytes(b"what a trainer leaves is no weights")

    refused = refusal(tmp_path)

    assert refused.reason is Reason.NO_WEIGHTS
    assert "found no weights at all" in refused.message


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_git_lfs_pointer_is_recognised(tmp_path: Path, name: str) -> None:
    write_directory(tmp_path)
    (tmp_path / name).write_text(LFS_POINTER)

    refused = refusal(tmp_path)

    assert refused.reason is Reason.NO_WEIGHTS
    assert f"{name} is a git-lfs pointer" in refused.message
    assert "git lfs pull" in refused.hint


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_link_out_of_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    model = write_directory(tmp_path / "model")
    (model / name).rename(tmp_path / name)
    (model / name).symlink_to(tmp_path / name)

    refused = refusal(model)

    assert f"{name} is a symbolic link" in refused.message
    assert "cp -rL" in refused.hint


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    write_directory(tmp_path)
    os.mkfifo(tmp_path / "tokenizer.json")

    assert "not a regular file" in refusal(tmp_path).message
