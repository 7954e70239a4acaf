"""Completing a ModelConfig from the model file, and what serving reads from it afterwards.

Pure: the file's signature comes in, a complete configuration goes out, or an error that names the tensor, what the
configuration says and what the file says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from appliance.errors import InvalidInput
from appliance.model.config import (
    DEFAULT_MAX_BATCH_SIZE,
    DynamicBatching,
    InstanceGroup,
    InstanceKind,
    LatestVersions,
    ModelConfig,
    ModelInput,
    ModelOutput,
    VersionPolicy,
)
from appliance.model.signature import ModelSignature, SignatureTensor
from appliance.model.tensor import TensorSpec, format_shape

T = TypeVar("T")

_HINT = "leave the field out and it is taken from the model file"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A complete configuration and its tensors as serving needs them (shapes without the batch dimension)."""

    config: ModelConfig
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    @property
    def max_batch_size(self) -> int:
        """Largest number of rows in one execution; 0: the model has no batch dimension."""
        return self.config.max_batch_size or 0

    @property
    def required_inputs(self) -> list[str]:
        """Names of the inputs that every request must bring."""
        return [name for name, spec in self.inputs.items() if not spec.optional]


def complete_config(
    config: ModelConfig,
    signature: ModelSignature,
    *,
    name: str,
    backend: str,
    platform: str,
    filename: str,
    default_instances: int = 1,
) -> ModelConfig:
    """Fill in everything that Triton's ModelConfig response must hold.

    Raises InvalidInput where the configuration contradicts the file.
    """
    max_batch_size = _max_batch_size(config, signature)
    batching = config.dynamic_batching
    if batching is None and config.max_batch_size is None and max_batch_size > 0:
        batching = DynamicBatching()
    if batching is not None and max_batch_size == 0:
        raise InvalidInput(f"model '{name}': dynamic_batching needs a batch dimension, but the model file has none")
    if batching is not None and not batching.preferred_batch_size:
        batching = batching.model_copy(update={"preferred_batch_size": (max_batch_size,)})
    batched = max_batch_size > 0
    return config.model_copy(
        update={
            "name": name,
            "backend": backend,
            "platform": platform,
            "default_model_filename": filename,
            "max_batch_size": max_batch_size,
            "dynamic_batching": batching,
            "input": _complete_inputs(config, signature, batched=batched),
            "output": _complete_outputs(config, signature, batched=batched),
            "version_policy": _complete_policy(config.version_policy),
            "instance_group": _complete_groups(config, name, default_instances),
        }
    )


def served_model(config: ModelConfig, signature: ModelSignature, labels: dict[str, tuple[str, ...]]) -> ServedModel:
    """Turn a complete configuration into tensor specs. `labels`: label file name -> its lines."""
    optional = {tensor.name for tensor in signature.inputs if tensor.optional}
    inputs = {
        tensor.name: TensorSpec(
            tensor.name, _known(tensor.data_type), _known(tensor.dims), tensor.optional or tensor.name in optional
        )
        for tensor in config.input
    }
    outputs = {
        tensor.name: TensorSpec(
            tensor.name,
            _known(tensor.data_type),
            _known(tensor.dims),
            labels=labels[tensor.label_filename] if tensor.label_filename else (),
        )
        for tensor in config.output
    }
    return ServedModel(config, inputs, outputs)


def _max_batch_size(config: ModelConfig, signature: ModelSignature) -> int:
    # What the file has a default for are weights of an old style of file: they have no batch dimension.
    tensors = (*(tensor for tensor in signature.inputs if not tensor.optional), *signature.outputs)
    without = [tensor for tensor in tensors if not tensor.shape or tensor.shape[0] != -1]
    if config.max_batch_size is None:
        return DEFAULT_MAX_BATCH_SIZE if tensors and not without else 0
    if config.max_batch_size > 0 and without:
        raise InvalidInput(
            f"max_batch_size is {config.max_batch_size}, but the first dimension of '{without[0].name}' is not "
            f"variable: the model file has {format_shape(without[0].shape)}",
            hint="set max_batch_size = 0, or export the model with a dynamic batch dimension",
        )
    return config.max_batch_size


def _complete_inputs(config: ModelConfig, signature: ModelSignature, *, batched: bool) -> tuple[ModelInput, ...]:
    listed = {tensor.name: tensor for tensor in config.input}
    _refuse_unknown(list(listed), [tensor.name for tensor in signature.inputs], "input")
    return tuple(
        listed.get(tensor.name, ModelInput(name=tensor.name)).model_copy(
            update=_facts(listed.get(tensor.name), tensor, batched=batched)
        )
        for tensor in signature.inputs
        if tensor.name in listed or not tensor.optional
    )


def _complete_outputs(config: ModelConfig, signature: ModelSignature, *, batched: bool) -> tuple[ModelOutput, ...]:
    listed = {tensor.name: tensor for tensor in config.output}
    _refuse_unknown(list(listed), [tensor.name for tensor in signature.outputs], "output")
    return tuple(
        listed.get(tensor.name, ModelOutput(name=tensor.name)).model_copy(
            update=_facts(listed.get(tensor.name), tensor, batched=batched)
        )
        for tensor in signature.outputs
    )


def _facts(listed: ModelInput | ModelOutput | None, tensor: SignatureTensor, *, batched: bool) -> dict[str, object]:
    shape = tensor.shape[1:] if batched else tensor.shape
    if listed is not None and listed.data_type not in (None, tensor.datatype):
        raise InvalidInput(
            f"tensor '{tensor.name}': the configuration says {_known(listed.data_type).config_name}, "
            f"the model file has {tensor.datatype.config_name}",
            hint=_HINT,
        )
    if listed is not None and listed.dims is not None:
        if not _compatible(listed.dims, shape):
            raise InvalidInput(
                f"tensor '{tensor.name}': the configuration says dims {format_shape(listed.dims)}, "
                f"the model file has {format_shape(shape)}{' after the batch dimension' if batched else ''}",
                hint=_HINT,
            )
        shape = listed.dims
    return {"data_type": tensor.datatype, "dims": tuple(shape)}


def _compatible(dims: Sequence[int], shape: Sequence[int]) -> bool:
    return len(dims) == len(shape) and all(have in (-1, want) for want, have in zip(dims, shape, strict=True))


def _refuse_unknown(listed: list[str], known: list[str], kind: str) -> None:
    unknown = [name for name in listed if name not in known]
    if unknown:
        raise InvalidInput(f"the configuration names {kind} '{unknown[0]}', but the file has {known}", hint=_HINT)


def _complete_policy(policy: VersionPolicy) -> VersionPolicy:
    if policy.latest or policy.all or policy.specific:
        return policy
    return VersionPolicy(latest=LatestVersions())


def _complete_groups(config: ModelConfig, name: str, default_instances: int) -> tuple[InstanceGroup, ...]:
    groups = config.instance_group or (InstanceGroup(kind=InstanceKind.CPU),)
    return tuple(
        group.model_copy(
            update={
                "name": group.name or (name if len(groups) == 1 else f"{name}_{index}"),
                "count": group.count or default_instances,
            }
        )
        for index, group in enumerate(groups)
    )


def _known(value: T | None) -> T:
    assert value is not None, "complete_config was not called"
    return value
