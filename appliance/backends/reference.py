"""The reference backend: a few functions in NumPy, so that the whole path can be tested without any runtime.

It ships: `appliance doctor` and the tests use it. `model.toml` names the function and lists inputs and outputs.
"""

import time
from collections.abc import Mapping, Sequence

from appliance.backends.base import Array, LoadRequest
from appliance.errors import Failed, InvalidInput
from appliance.model.config import InstanceGroup, ModelConfig, ModelInput, ModelOutput
from appliance.model.datatype import Datatype
from appliance.model.signature import ModelSignature, SignatureTensor

FUNCTIONS = ("identity", "add_sub", "fail")


class ReferenceInstance:
    """Computes one function.

    identity: output i is input i. add_sub: sum and difference of two inputs. fail: always an error, for tests of what
    an error does to its neighbours. Parameter `delay_ms` makes each execution take at least that long.
    """

    def __init__(self, function: str, delay_s: float, model: "ReferenceModel") -> None:
        self._function = function
        self._delay_s = delay_s
        self._inputs = [tensor.name for tensor in model.signature.inputs]
        self._outputs = [tensor.name for tensor in model.signature.outputs]

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Compute the function on whole batches."""
        time.sleep(self._delay_s)
        if self._function == "fail":
            raise Failed("the reference model was told to fail")
        arrays = [inputs[name] for name in self._inputs if name in inputs]
        results = arrays if self._function == "identity" else [arrays[0] + arrays[1], arrays[0] - arrays[1]]
        computed = dict(zip(self._outputs, results, strict=False))
        missing = [name for name in outputs if name not in computed]
        if missing:
            raise InvalidInput(f"output '{missing[0]}' needs an input that the request leaves out")
        return [computed[name] for name in outputs]

    def close(self) -> None:
        """Nothing is held."""


class ReferenceModel:
    """Inputs and outputs as the configuration lists them."""

    device = "NumPy"
    device_note = ""

    def __init__(self, config: ModelConfig) -> None:
        self._function = config.parameter("function", "identity")
        if self._function not in FUNCTIONS:
            raise InvalidInput(f"parameter function is '{self._function}', expected one of {', '.join(FUNCTIONS)}")
        delay = config.parameter("delay_ms", "0")
        if not delay.replace(".", "", 1).isdigit():
            raise InvalidInput(f"parameter delay_ms is '{delay}', expected a number of milliseconds")
        self._delay_s = float(delay) / 1000
        self.signature = _signature(config)
        self.any_thread = self._delay_s == 0

    def create_instance(self, group: InstanceGroup) -> ReferenceInstance:  # noqa: ARG002  (any device is NumPy)
        """Make one instance."""
        return ReferenceInstance(self._function, self._delay_s, self)

    def close(self) -> None:
        """Nothing is held."""


class ReferenceBackend:
    """Needs no model file to have any particular content."""

    name = "reference"
    platform = "reference"
    default_cpu_instances = 1

    def load(self, request: LoadRequest) -> ReferenceModel:
        """Read the function from the configuration."""
        return ReferenceModel(request.config)


BACKEND = ReferenceBackend()


def _signature(config: ModelConfig) -> ModelSignature:
    if not config.input or not config.output:
        raise InvalidInput("the reference backend needs inputs and outputs listed in model.toml")
    batch = (-1,) if config.max_batch_size else ()
    return ModelSignature(
        tuple(_tensor(tensor, batch, optional=tensor.optional) for tensor in config.input),
        tuple(_tensor(tensor, batch, optional=False) for tensor in config.output),
    )


def _tensor(tensor: ModelInput | ModelOutput, batch: tuple[int, ...], *, optional: bool) -> SignatureTensor:
    if tensor.data_type is None or tensor.dims is None:
        raise InvalidInput(f"tensor '{tensor.name}': the reference backend needs data_type and dims in model.toml")
    datatype: Datatype = tensor.data_type
    return SignatureTensor(tensor.name, datatype, (*batch, *tensor.dims), optional)
