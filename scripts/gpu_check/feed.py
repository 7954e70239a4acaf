"""What a model is fed with while it is measured: one row (or one request, for models without batches)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.cli.asking import ServedSignature
from appliance.errors import Unsupported
from appliance.model.datatype import Datatype
from appliance.registry.golden import read_golden_samples
from appliance.rpc.pb import grpc_service_pb2 as pb

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Feed:
    """Arrays by input name; with `batched`, axis 0 is the batch and has one row."""

    model: str
    arrays: Mapping[str, Array]
    datatypes: Mapping[str, str]  # in the words of the wire
    batched: bool

    def request(self) -> pb.ModelInferRequest:
        """Write one request."""
        request = pb.ModelInferRequest(model_name=self.model)
        for name, array in self.arrays.items():
            request.inputs.add(name=name, datatype=self.datatypes[name], shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        return request

    def rows(self, count: int) -> dict[str, Array]:
        """The same row `count` times."""
        if not self.batched:
            return dict(self.arrays)
        return {name: np.repeat(array, count, axis=0) for name, array in self.arrays.items()}


def make_feed(model: ServedSignature, package: Path) -> Feed:
    """Take the first golden sample of the package, else random numbers of the model's own shapes.

    Raises Unsupported for models with strings, or with free sizes and no sample.
    """
    batched = any(tensor.batched for tensor in model.inputs.values())
    if any(tensor.datatype is Datatype.BYTES for tensor in model.inputs.values()):
        raise Unsupported(f"{model.name} takes strings")
    golden = read_golden_samples(package)
    if golden is not None and golden.samples:
        sample = golden.arrays(golden.samples[0].inputs)
        arrays = {name: np.ascontiguousarray(array[:1] if batched else array) for name, array in sample.items()}
    else:
        arrays = {name: _random(model, name) for name in model.inputs}
    datatypes = {name: model.inputs[name].datatype.wire_name for name in arrays}
    return Feed(model.name, arrays, datatypes, batched)


def _random(model: ServedSignature, name: str) -> Array:
    tensor = model.inputs[name]
    if min(tensor.shape, default=0) < 0:
        raise Unsupported(f"input '{name}' of {model.name} has free sizes, and the package has no golden sample")
    shape = (1, *tensor.shape) if tensor.batched else tensor.shape
    return np.random.default_rng(0).random(shape).astype(tensor.datatype.numpy)
