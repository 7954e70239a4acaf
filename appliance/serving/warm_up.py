"""The requests that an instance answers before it is READY: Triton's `model_warmup`, or one row of zeros."""

from pathlib import Path

import numpy as np

from appliance.backends.base import Array
from appliance.errors import InvalidInput
from appliance.model.config import Warmup, WarmupInput
from appliance.model.config_completion import ServedModel
from appliance.model.datatype import Datatype
from appliance.model.tensor import decode_bytes, element_count
from appliance.serving.package_file import read_package_file
from appliance.serving.request import InferenceRequest

_SEED = 0  # warm-up data are the same at every start


def warm_up_requests(served: ServedModel, package: Path) -> list[InferenceRequest]:
    """Build the warm-up requests. `package` is where `warmup/<input_data_file>` lies.

    Raises InvalidInput if the configured warm-up does not fit the model.
    """
    if not served.config.model_warmup:
        return _zeros(served)
    return [
        _request(served, warm_up, package)
        for warm_up in served.config.model_warmup
        for _ in range(max(1, warm_up.count))
    ]


def _zeros(served: ServedModel) -> list[InferenceRequest]:
    """One row of zeros where all sizes are known; models that take any size are left cold."""
    specs = [served.inputs[name] for name in served.required_inputs]
    if any(size < 0 for spec in specs for size in spec.shape):
        return []
    batch = (1,) if served.max_batch_size else ()
    inputs = {spec.name: _filled(spec.datatype, (*batch, *spec.shape)) for spec in specs}
    return [InferenceRequest(inputs, tuple(served.outputs), 1, None)]


def _request(served: ServedModel, warm_up: Warmup, package: Path) -> InferenceRequest:
    missing = [name for name in served.required_inputs if name not in warm_up.inputs]
    unknown = [name for name in warm_up.inputs if name not in served.inputs]
    if missing or unknown:
        raise InvalidInput(
            f"warm-up '{warm_up.name}': inputs are {sorted(warm_up.inputs)}, expected {sorted(served.inputs)}"
        )
    rows = max(1, warm_up.batch_size)
    if rows > max(1, served.max_batch_size):
        raise InvalidInput(f"warm-up '{warm_up.name}': batch_size {rows} is above max_batch_size")
    batch = (rows,) if served.max_batch_size else ()
    inputs = {name: _array(served, name, given, batch, package) for name, given in warm_up.inputs.items()}
    return InferenceRequest(inputs, tuple(served.outputs), rows, None)


def _array(served: ServedModel, name: str, given: WarmupInput, batch: tuple[int, ...], package: Path) -> Array:
    spec = served.inputs[name]
    if given.data_type is not spec.datatype or not spec.accepts(given.dims):
        raise InvalidInput(
            f"warm-up input '{name}': got {given.data_type.config_name} {list(given.dims)}, "
            f"expected {spec.datatype.config_name} {list(spec.shape)}"
        )
    shape = (*batch, *given.dims)
    if given.input_data_file:
        return _from_file(package, given.input_data_file, spec.datatype, shape)
    if given.random_data and spec.datatype is not Datatype.BYTES:
        generator = np.random.default_rng(_SEED)
        bits = generator.integers(0, 2, size=shape)
        return bits.astype(spec.datatype.numpy)
    return _filled(spec.datatype, shape)


def _from_file(package: Path, name: str, datatype: Datatype, shape: tuple[int, ...]) -> Array:
    data = read_package_file(package, f"warmup/{name}")
    if datatype is Datatype.BYTES:
        return decode_bytes(memoryview(data), element_count(shape), f"warm-up file {name}").reshape(shape)
    expected = element_count(shape) * datatype.size_bytes
    if len(data) != expected:
        raise InvalidInput(f"warm-up file {name} has {len(data)} bytes, expected {expected}")
    return np.frombuffer(data, dtype=datatype.numpy).reshape(shape)


def _filled(datatype: Datatype, shape: tuple[int, ...]) -> Array:
    if datatype is Datatype.BYTES:
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, dtype=datatype.numpy)
