"""The 14 datatypes of the Open Inference Protocol and their names elsewhere.

BF16 has no NumPy type: its arrays are uint16 holding the raw bits. BYTES arrays are dtype object holding bytes.
"""

from enum import Enum
from typing import Any, Self

import numpy as np

from appliance.errors import InvalidInput


class Datatype(Enum):
    """Wire name, NumPy type, ONNX TensorProto.DataType number, name of the typed-contents field (if any)."""

    BOOL = ("BOOL", "?", 9, "bool_contents")
    UINT8 = ("UINT8", "<u1", 2, "uint_contents")
    UINT16 = ("UINT16", "<u2", 4, "uint_contents")
    UINT32 = ("UINT32", "<u4", 12, "uint_contents")
    UINT64 = ("UINT64", "<u8", 13, "uint64_contents")
    INT8 = ("INT8", "<i1", 3, "int_contents")
    INT16 = ("INT16", "<i2", 5, "int_contents")
    INT32 = ("INT32", "<i4", 6, "int_contents")
    INT64 = ("INT64", "<i8", 7, "int64_contents")
    FP16 = ("FP16", "<f2", 10, "")
    FP32 = ("FP32", "<f4", 1, "fp32_contents")
    FP64 = ("FP64", "<f8", 11, "fp64_contents")
    BYTES = ("BYTES", "O", 8, "bytes_contents")
    BF16 = ("BF16", "<u2", 16, "")

    def __init__(self, wire_name: str, numpy_code: str, onnx_number: int, contents_field: str) -> None:
        self.wire_name = wire_name
        self.numpy: np.dtype[Any] = np.dtype(numpy_code)
        self.onnx_number = onnx_number
        self.contents_field = contents_field
        self.size_bytes = 0 if numpy_code == "O" else self.numpy.itemsize  # 0: variable
        self.config_name = "TYPE_STRING" if wire_name == "BYTES" else f"TYPE_{wire_name}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a wire name (`FP32`) or a configuration name (`TYPE_FP32`).

        Raises InvalidInput for any other text.
        """
        found = _BY_NAME.get(text)
        if found is None:
            names = ", ".join(datatype.wire_name for datatype in cls)
            raise InvalidInput(f"unknown datatype '{text}', expected one of {names}")
        return found

    @classmethod
    def from_onnx(cls, number: int) -> "Datatype | None":
        """Return the datatype of an ONNX TensorProto.DataType number, None if the protocol has none for it."""
        return _BY_ONNX.get(number)


_BY_NAME = {name: datatype for datatype in Datatype for name in (datatype.wire_name, datatype.config_name)}
_BY_ONNX = {datatype.onnx_number: datatype for datatype in Datatype}
