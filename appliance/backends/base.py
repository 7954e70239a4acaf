"""What serving asks of a runtime.

Ownership: a BackendModel belongs to one LoadedModel; each ModelInstance belongs to one worker thread, which creates,
runs and closes it. `execute` releases the interpreter lock while it computes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from appliance.backends.engine_file import EngineFile
from appliance.model.config import InstanceGroup, ModelConfig
from appliance.model.execution import ExecutionPolicy
from appliance.model.signature import ModelSignature

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """Everything a backend may know about the version that it loads."""

    model_file: Path
    config: ModelConfig
    groups: tuple[InstanceGroup, ...]
    execution: ExecutionPolicy
    engine: EngineFile | None = None  # for TensorRT; read only inside `load`
    gpu_uuid: str = ""  # the operator's GPU, for groups that name none; empty: the first


class ModelInstance(Protocol):
    """One executable copy of a model, used by one thread."""

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Compute `outputs`, in that order, from `inputs` (name -> array, batch on axis 0 if the model has one).

        The answer's arrays are row-major and little-endian, which is how they go onto the wire.

        Raises InvalidInput when the data are at fault, Failed otherwise.
        """

    def close(self) -> None:
        """Give everything back."""


@runtime_checkable
class JoiningInstance(ModelInstance, Protocol):
    """An instance that joins requests where its runtime reads them, without an array in between."""

    def execute_joined(self, parts: Sequence[Mapping[str, Array]], outputs: Sequence[str]) -> list[Array]:
        """Compute `outputs` for the rows of all `parts`, one after the other on axis 0, in one execution.

        The parts have the same inputs, and shapes that differ on axis 0 only. The answer holds all rows; it is the
        caller's. Raises InvalidInput when the data are at fault, Failed otherwise.
        """


class BackendModel(Protocol):
    """One loaded version."""

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs as the file has them."""

    @property
    def device(self) -> str:
        """The device that really computes, in the runtime's words."""

    @property
    def any_thread(self) -> bool:
        """Whether an instance may be called from any thread, several at a time included."""

    @property
    def device_note(self) -> str:
        """Why it is not the device that was asked for; empty if it is."""

    def create_instance(self, group: InstanceGroup) -> ModelInstance:
        """Make one executable copy."""

    def close(self) -> None:
        """Give everything back; all instances are closed by then."""


@runtime_checkable
class DeviceModel(BackendModel, Protocol):
    """A loaded version that knows what it takes on its GPU, and what it compiled there."""

    @property
    def device_bytes(self) -> int:
        """GPU memory taken since just before the load."""

    def serialized_runtime_cache(self) -> bytes:
        """Kernels compiled while loading, to be handed over at the next load; empty if there is nothing to keep."""


class Backend(Protocol):
    """A runtime."""

    name: str
    platform: str
    default_cpu_instances: int

    def load(self, request: LoadRequest) -> BackendModel:
        """Load one version. Raises InvalidInput (bad file or configuration) or Failed (no such device, no memory)."""
