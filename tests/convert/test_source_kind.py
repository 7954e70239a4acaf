"""What lies at a path, and the sentence for a path where nothing does."""

from pathlib import Path

import pytest

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.sources.source_kind import SourceKind, source_kind


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.onnx", SourceKind.ONNX),
        ("a.ONNX", SourceKind.ONNX),
        ("a.pt2", SourceKind.TORCH_PROGRAM),
        ("a.joblib", SourceKind.SCIKIT_LEARN),
        ("a.pkl", SourceKind.SCIKIT_LEARN),
    ],
)
def test_a_file_is_told_by_its_ending(tmp_path: Path, name: str, expected: SourceKind) -> None:
    (tmp_path / name).touch()

    assert source_kind(str(tmp_path / name)) is expected


def test_a_directory_is_a_hugging_face_model(tmp_path: Path) -> None:
    assert source_kind(str(tmp_path)) is SourceKind.HUGGING_FACE


def test_a_file_of_another_kind_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()

    with pytest.raises(ConversionRefused, match=r"model\.gguf is not a kind of model") as refused:
        source_kind(str(tmp_path / "model.gguf"))

    assert refused.value.reason is Reason.UNSUPPORTED_ARCHITECTURE
    assert "*.onnx" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "hub_id", "directory"),
    [
        ("google/vit-base-patch16-224", "google/vit-base-patch16-224", "vit-base-patch16-224"),
        ("gpt2", "gpt2", "gpt2"),
        ("sentence-transformers/all-MiniLM-L6-v2/", "sentence-transformers/all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
        ("https://huggingface.co/google/vit", "google/vit", "vit"),
        ("https://huggingface.co/google/vit/tree/main", "google/vit", "vit"),
    ],
)
def test_a_hub_id_is_refused_with_the_way_to_bring_the_files(text: str, hub_id: str, directory: str) -> None:
    with pytest.raises(ConversionRefused, match="never fetched from a hub") as refused:
        source_kind(text)

    assert refused.value.reason is Reason.HUB_ID
    assert f"huggingface-cli download {hub_id} --local-dir {directory};" in refused.value.hint
    assert f"appliance convert ./{directory}" in refused.value.hint


def test_a_directory_whose_path_looks_like_a_hub_id_is_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/digits").mkdir(parents=True)

    assert source_kind("models/digits") is SourceKind.HUGGING_FACE


@pytest.mark.parametrize("text", ["", "/no/such/directory", "./nowhere", "missing.onnx", "a\0b", "x" * 5000 + "/y z"])
def test_a_path_where_nothing_lies_is_no_hub_id(text: str) -> None:
    with pytest.raises(ConversionRefused, match="there is nothing at") as refused:
        source_kind(text)

    assert refused.value.reason is Reason.NO_CONFIG
    assert len(refused.value.message) < 400
