"""BF16, which NumPy does not have: its arrays hold the raw bits as uint16."""

import numpy as np
import numpy.typing as npt


def bits_of(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Round to the nearest BF16 (ties to even); NaN stays NaN."""
    bits = values.view(np.uint32)
    rounded = (bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16
    quiet_nan = (bits >> 16) | 0x40
    return np.where(np.isnan(values), quiet_nan, rounded).astype("<u2")


def values_of(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Widen to float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
