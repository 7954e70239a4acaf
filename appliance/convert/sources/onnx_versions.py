"""ONNX files newer than a box: brought down to the versions that it reads.

The onnx package of a workstation writes its newest versions unless it is told otherwise, and a box is older.
"""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import version_converter

from appliance.backends.onnx_inspection import NEWEST_IR_VERSION, NEWEST_OPSETS
from appliance.convert.sources.graph_file import MAX_INLINE_BYTES

_ONNX = ""  # the domain


def lowered(path: Path, folder: Path) -> Path | None:
    """Return a copy in `folder` that a box reads; None if the versions are not too new, or cannot be lowered."""
    model = _parsed(path)
    if model is None or any(tensor.external_data for tensor in model.graph.initializer):
        return None  # data beside the file stay where they were checked
    opset = next((entry.version for entry in model.opset_import if entry.domain == _ONNX), 0)
    if opset <= NEWEST_OPSETS[_ONNX] and model.ir_version <= NEWEST_IR_VERSION:
        return None
    if opset > NEWEST_OPSETS[_ONNX]:
        try:
            model = version_converter.convert_version(model, NEWEST_OPSETS[_ONNX])
        except RuntimeError:  # it has no way down for one of the operators
            return None
    model.ir_version = min(model.ir_version, NEWEST_IR_VERSION)
    copy = folder / "lowered.onnx"
    onnx.save(model, copy)
    return copy


def _parsed(path: Path) -> onnx.ModelProto | None:
    if path.stat().st_size > MAX_INLINE_BYTES:
        return None
    try:
        return onnx.load(path, load_external_data=False)
    except DecodeError:
        return None
