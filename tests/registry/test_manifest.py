"""Manifests: one canonical form, and nothing unsafe gets through parsing."""

import json
from typing import Any

import pytest

from appliance.errors import InvalidInput
from appliance.model.identity import Digest
from appliance.registry.manifest import Manifest, ManifestFile
from tests.registry.packages import DIGITS, ONE

HEX = "ab" * 32
FILE = ManifestFile(Digest(f"sha256:{HEX}"), 7)


def manifest(**files: ManifestFile) -> Manifest:
    return Manifest(DIGITS, ONE, "", "1/model.onnx", "MIT", {"1/model.onnx": FILE, **files})


def document() -> dict[str, Any]:
    return dict(json.loads(manifest().to_bytes()))


def test_a_manifest_reads_back_as_it_was_written() -> None:
    written = manifest(ünï=FILE, labels=FILE)

    assert Manifest.parse(written.to_bytes()) == written


def test_the_digest_does_not_depend_on_the_order_of_files() -> None:
    assert manifest(a=FILE, b=FILE).digest() == manifest(b=FILE, a=FILE).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"version": 2},
        {"licence": "GPL"},
        {"files": {"1/model.onnx": {"sha256": "cd" * 32, "size_bytes": 7}}},
    ],
)
def test_the_digest_depends_on_everything(change: dict[str, Any]) -> None:
    other = Manifest.parse(json.dumps({**document(), **change}, sort_keys=True, separators=(",", ":")).encode())

    assert other.digest() != manifest().digest()


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "", "a/", "a\nb", "a\x00b", "x" * 256, "\ud800"]
)
def test_a_path_that_could_leave_the_package_is_refused(path: str) -> None:
    files = {**document()["files"], path: {"sha256": HEX, "size_bytes": 1}}

    with pytest.raises(InvalidInput, match="invalid path in a package"):
        Manifest.parse(json.dumps({**document(), "files": files}).encode())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "not a model manifest of schema 1 in canonical form"),
        ({"more": 1}, "canonical form"),
        ({"name": "../x"}, "invalid model name"),
        ({"name": 3}, "not a model manifest"),
        ({"version": 0}, "invalid model version"),
        ({"version": "1"}, "canonical form"),
        ({"model_file": "2/model.onnx"}, "model_file '2/model.onnx' is none of its files"),
        ({"config_file": "model.toml"}, "config_file 'model.toml' is none of its files"),
        ({"model_file": ""}, "model_file '' is none of its files"),
        ({"files": []}, "not a model manifest"),
        ({"files": {"1/model.onnx": {"sha256": "xy", "size_bytes": 1}}}, "invalid digest"),
        ({"files": {"1/model.onnx": {"sha256": HEX, "size_bytes": -1}}}, "size_bytes is -1"),
        ({"files": {"1/model.onnx": {"sha256": HEX, "size_bytes": True}}}, "size_bytes is True"),
        ({"files": {"1/model.onnx": {"sha256": HEX}}}, "KeyError"),
    ],
)
def test_anything_but_a_canonical_manifest_is_refused(change: dict[str, Any], words: str) -> None:
    data = json.dumps({**document(), **change}, sort_keys=True, separators=(",", ":")).encode()

    with pytest.raises(InvalidInput) as caught:
        Manifest.parse(data)

    assert words in str(caught.value)


def test_a_path_cannot_be_a_file_and_a_directory() -> None:
    files = {path: {"sha256": HEX, "size_bytes": 1} for path in ("1", "1-2", "1/model.onnx")}

    with pytest.raises(InvalidInput, match="'1' is a file and a directory"):
        Manifest.parse(json.dumps({**document(), "files": files}).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a model manifest"):
        Manifest.parse(data)
