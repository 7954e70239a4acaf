"""The ONNX files of a package: every variant within tolerance, under the name that it has there."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from appliance.convert.package.package_layout import packaged_files
from appliance.convert.sources.graph_file import data_file
from appliance.convert.variant import Variant
from appliance.durable import hash_file
from appliance.model.identity import ModelVersion

Content = bytes | Path  # what a file of the package holds, or which file it is a copy of


def model_files(variants: Sequence[Variant], graph: str, version: ModelVersion) -> dict[str, Content]:
    """Return path in the package -> content, for one graph."""
    found: dict[str, Content] = {}
    for variant in variants:
        packaged = packaged_files(variant, version)
        if graph in packaged:
            found |= _files(variant.graphs[graph], packaged[graph])
    return found


def digests(contents: Mapping[str, Content]) -> dict[str, str]:
    """Return path -> 'sha256:...'."""
    return {
        path: f"sha256:{hash_file(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()}"
        for path, content in sorted(contents.items())
    }


def _files(file: Path, path: str) -> dict[str, Content]:
    data = data_file(file)
    if not data.exists():
        return {path: file}
    renamed = data_file(Path(path))
    return {path: _with_data_at(file, renamed.name), str(renamed): data}


def _with_data_at(file: Path, data_name: str) -> bytes:
    """The graph names the file that holds its weights; it must be the name that this file gets."""
    model = onnx.load(file, load_external_data=False)
    for tensor in onnx.external_data_helper._get_all_tensors(model):  # noqa: SLF001  (the only walk over all of them)
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = data_name
    content: bytes = model.SerializeToString(deterministic=True)
    return content
