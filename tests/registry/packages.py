"""Small packages and registries for tests: real files, no model inside (nothing here loads one)."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from appliance.model.config import ModelConfig
from appliance.model.datatype import Datatype
from appliance.model.identity import ModelName, ModelVersion
from appliance.model.signature import ModelSignature, SignatureTensor
from appliance.registry.manifest import Manifest
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.package import read_package
from appliance.registry.records import RegisteredVersion
from appliance.state_layout import StateLayout

DIGITS = ModelName("digits")
ONE, TWO, THREE = ModelVersion(1), ModelVersion(2), ModelVersion(3)
SIGNATURE = ModelSignature(
    (SignatureTensor("image", Datatype.FP32, (-1, 64)),),
    (
        SignatureTensor("digit", Datatype.INT64, (-1,)),
        SignatureTensor("text", Datatype.BYTES, (-1, 1), optional=True),
    ),
)


def write_package(directory: Path, files: Mapping[str, str | bytes] | None = None) -> Path:
    """Write a package of these files, or the usual small one."""
    for relative, content in (usual_files() if files is None else files).items():
        path = directory / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


def usual_files(version: int = 1) -> dict[str, str | bytes]:
    return {
        "model.toml": 'licence = "Apache-2.0"\n[[output]]\nname = "digit"\nlabel_filename = "labels.txt"\n',
        "labels.txt": "zero\none\n",
        "provenance.json": '{"name": "digits", "licence": "MIT"}',
        "golden/zero.npy": b"golden",
        f"{version}/model.onnx": f"model {version}".encode() * 100,
        f"{version}/model.onnx.data": f"weights {version}".encode() * 100,
    }


def accept(model_file: Path, _: ModelConfig) -> ModelSignature:
    assert model_file.is_file()
    return SIGNATURE


def add(registry: ModelRegistry, directory: Path) -> list[RegisteredVersion]:
    return registry.add(read_package(directory), check=accept)


def assert_whole(layout: StateLayout) -> None:
    """Without the product's help: every blob is what its name says, every view is what its manifest says.

    The manifest of a removed version goes at once, its view with the next garbage.
    """
    for blob in (layout.blobs / "sha256").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    for view in layout.views.iterdir():
        if not (layout.blobs / "sha256" / view.name).exists():
            continue
        manifest = json.loads((layout.blobs / "sha256" / view.name).read_bytes())
        for relative, file in manifest["files"].items():
            content = (view / relative).read_bytes()
            assert (hashlib.sha256(content).hexdigest(), len(content)) == (file["sha256"], file["size_bytes"])


def needed_blobs(manifests: list[Manifest]) -> set[str]:
    files = {file.digest for manifest in manifests for file in manifest.files.values()}
    return {digest.removeprefix("sha256:") for digest in files | {manifest.digest() for manifest in manifests}}


def files_below(directory: Path) -> dict[str, bytes]:
    return {
        os.path.relpath(Path(folder, name), directory): Path(folder, name).read_bytes()
        for folder, _, names in os.walk(directory)
        for name in names
    }
