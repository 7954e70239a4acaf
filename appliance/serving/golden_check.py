"""The golden samples of a package against an instance that has just been made: before it serves, on this very device.

An engine was compiled by a builder that may choose other kernels on each box; a quantised graph may saturate on a
processor without the instructions that it was made for. Only computing shows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appliance.backends.base import Array, ModelInstance
from appliance.errors import Failed, InvalidInput
from appliance.model.config_completion import ServedModel
from appliance.model.datatype import Datatype
from appliance.registry.golden import GoldenSamples, read_golden_samples


@dataclass(frozen=True, slots=True)
class GoldenRequest:
    """One sample, ready to be computed: arrays as the model takes and gives them."""

    name: str
    inputs: Mapping[str, Array]
    expected: Mapping[str, Array]


class GoldenCheck:
    """The samples of one package, read once for all instances of a version."""

    def __init__(self, samples: GoldenSamples, requests: Sequence[GoldenRequest]) -> None:
        self._samples = samples
        self._requests = requests

    @classmethod
    def of_package(cls, served: ServedModel, package: Path) -> "GoldenCheck | None":
        """Read the samples; None if the package has none. Raises InvalidInput if they do not fit the model."""
        samples = read_golden_samples(package)
        if samples is None:
            return None
        requests = [
            GoldenRequest(
                sample.name,
                _arrays(served, sample.name, "input", samples.arrays(sample.inputs)),
                _arrays(served, sample.name, "output", samples.arrays(sample.outputs)),
            )
            for sample in samples.samples
        ]
        return cls(samples, requests)

    def run(self, instance: ModelInstance) -> None:
        """Compute every sample. Raises Failed with the sample, the output and the numbers if one does not agree."""
        for request in self._requests:
            found = instance.execute(request.inputs, tuple(request.expected))
            for (name, expected), array in zip(request.expected.items(), found, strict=True):
                if not self._samples.agrees(array, expected):
                    raise Failed(
                        f"golden sample '{request.name}': {self._difference(name, array, expected)}",
                        hint="it must not serve here: convert it again, or choose another execution path",
                    )

    def _difference(self, name: str, found: Array, expected: Array) -> str:
        if found.shape != expected.shape:
            return f"output '{name}' has shape {list(found.shape)}, expected {list(expected.shape)}"
        if expected.dtype.kind != "f":
            return f"output '{name}' differs in {int(np.sum(found != expected))} of {expected.size} elements"
        error = np.abs(found.astype(np.float64) - expected)
        allowed = self._samples.atol + self._samples.rtol * np.abs(expected.astype(np.float64))
        worst = int(np.argmax(np.where(np.isnan(error), np.inf, error - allowed)))
        return (
            f"output '{name}', element {worst}: found {found.reshape(-1)[worst]:.6g}, expected "
            f"{expected.reshape(-1)[worst]:.6g} within {allowed.reshape(-1)[worst]:.2g}"
        )


def _arrays(served: ServedModel, sample: str, side: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    specs = served.inputs if side == "input" else served.outputs
    unknown = [name for name in arrays if name not in specs]
    missing = [name for name in served.required_inputs if side == "input" and name not in arrays]
    if unknown or missing:
        raise InvalidInput(
            f"golden sample '{sample}' has {side}s {sorted(arrays)}, expected {sorted(specs)}",
            hint="write the package again: appliance convert",
        )
    return {name: _as_computed(sample, name, specs[name].datatype, array) for name, array in arrays.items()}


def _as_computed(sample: str, name: str, datatype: Datatype, array: Array) -> Array:
    """An array as instances take it; texts are objects there, and files cannot hold objects."""
    if datatype is Datatype.BYTES:
        texts = np.empty(array.shape, dtype=object)
        texts.reshape(-1)[:] = [text.encode() if isinstance(text, str) else bytes(text) for text in array.reshape(-1)]
        return texts
    if array.dtype != datatype.numpy:
        raise InvalidInput(
            f"golden sample '{sample}': '{name}' is {array.dtype}, the model has {datatype.config_name}",
            hint="write the package again: appliance convert",
        )
    return np.ascontiguousarray(array)
