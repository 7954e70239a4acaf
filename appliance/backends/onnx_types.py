"""Names of types in ONNX Runtime's words, and what they are in the protocol's.

A type without a counterpart (float8, complex, sequence, map, optional, sparse tensor) has none here either: the
caller refuses it by name.
"""

from types import MappingProxyType

from appliance.model.datatype import Datatype

_DATATYPES = MappingProxyType(
    {
        "tensor(bool)": Datatype.BOOL,
        "tensor(uint8)": Datatype.UINT8,
        "tensor(uint16)": Datatype.UINT16,
        "tensor(uint32)": Datatype.UINT32,
        "tensor(uint64)": Datatype.UINT64,
        "tensor(int8)": Datatype.INT8,
        "tensor(int16)": Datatype.INT16,
        "tensor(int32)": Datatype.INT32,
        "tensor(int64)": Datatype.INT64,
        "tensor(float16)": Datatype.FP16,
        "tensor(float)": Datatype.FP32,
        "tensor(double)": Datatype.FP64,
        "tensor(string)": Datatype.BYTES,
        "tensor(bfloat16)": Datatype.BF16,
    }
)


def datatype_of_ort_type(text: str) -> Datatype | None:
    """Return the datatype of an ONNX Runtime type such as `tensor(float)`, None if the protocol has none for it."""
    return _DATATYPES.get(text)
