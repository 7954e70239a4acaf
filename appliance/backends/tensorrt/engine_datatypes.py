"""Names of types in TensorRT's words, and what they are in the protocol's.

TensorRT has no strings, no FP64 and no other integers at the border of an engine; its FP8, FP4, INT4 and E8M0 have no
counterpart in the protocol. Whoever meets such a type refuses it by name.
"""

from types import MappingProxyType

from appliance.model.datatype import Datatype

_DATATYPES = MappingProxyType(
    {
        "FLOAT": Datatype.FP32,
        "HALF": Datatype.FP16,
        "BF16": Datatype.BF16,  # NumPy has no bfloat16: its bits travel as uint16
        "INT8": Datatype.INT8,
        "INT32": Datatype.INT32,
        "INT64": Datatype.INT64,
        "BOOL": Datatype.BOOL,
        "UINT8": Datatype.UINT8,
    }
)


def datatype_of_engine_type(name: str) -> Datatype | None:
    """Return the datatype of a TensorRT type such as `HALF`, None if the protocol has none for it."""
    return _DATATYPES.get(name)
