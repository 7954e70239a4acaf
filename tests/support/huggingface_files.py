"""Hugging Face directories and safetensors files, written byte by byte: no library of theirs is needed."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

_WORDS = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "bool": "BOOL"}
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 90868376\n"


def write_directory(directory: Path, **config: Any) -> Path:
    """Write config.json and model.safetensors; an entry that is None is left out."""
    directory.mkdir(parents=True, exist_ok=True)
    document = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", **config}
    write_json(directory / "config.json", {name: value for name, value in document.items() if value is not None})
    write_safetensors(directory / "model.safetensors", {"weight": np.ones((2, 3), np.float32)})
    return directory


def write_json(file: Path, document: object) -> None:
    file.write_text(json.dumps(document))


def write_safetensors(file: Path, tensors: dict[str, np.ndarray]) -> None:
    entries, data = {}, b""
    for name, array in tensors.items():
        entries[name] = entry(_WORDS[str(array.dtype)], array.shape, len(data), len(data) + array.nbytes)
        data += array.tobytes()
    write_raw(file, entries, data)


def entry(dtype: str, shape: Any, start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


def write_raw(file: Path, entries: object, data: bytes) -> None:
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + data)
