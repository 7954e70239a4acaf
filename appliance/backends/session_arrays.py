"""Arrays as ONNX Runtime's binding wants and gives them. Pure: NumPy only."""

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np

from appliance.backends.base import Array
from appliance.errors import InvalidInput


def as_text(name: str, array: Array) -> Array:
    """ONNX strings are UTF-8 text; ONNX Runtime would otherwise take the Python spelling of a bytes object."""
    text = np.empty(array.shape, dtype=object)
    try:
        text.reshape(-1)[:] = [element.decode() for element in array.reshape(-1)]
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"input '{name}': ONNX strings are UTF-8 text, got a byte 0x{error.object[error.start]:02x} "
            f"at offset {error.start} of an element"
        ) from error
    return text


def aligned(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Views of a received message begin anywhere; C++ code may rely on natural alignment."""
    for array in inputs.values():
        if not array.flags.aligned:
            return {name: each if each.flags.aligned else each.copy() for name, each in inputs.items()}
    return inputs


def array_of(value: Any) -> Array:
    """Copy an OrtValue out; NumPy has no bfloat16, so its bits travel as uint16."""
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()  # type: ignore[no-any-return]  # onnxruntime is not typed
    size = value.tensor_size_in_bytes()
    bits = (ctypes.c_char * size).from_address(value.data_ptr()) if size else b""
    return np.frombuffer(bits, dtype=np.uint16).reshape(value.shape()).copy()  # the OrtValue owns the memory
