"""Inputs for validation, calibration and golden samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """One input as the model takes it: name -> array with a batch of one on axis 0."""

    name: str
    inputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of one run: name -> array, batch on axis 0."""

    case: str  # what people read: 'batch 4, 3x224x224'
    size: int
    inputs: Mapping[str, Array]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each input."""
        return {name: np.shape(array) for name, array in self.inputs.items()}
