"""Inputs as ONNX Runtime's binding wants them. Pure: NumPy only."""

from collections.abc import Mapping

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
