"""Whether anything that this box shall serve wants a GPU: what its settings and its wanted models say."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from appliance.model.config import InstanceKind, ModelConfig
from appliance.model.execution import ExecutionPath, ExecutionPolicy
from appliance.registry.directory_source import DirectorySource
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.registry_source import RegistrySource
from appliance.registry.source import ModelSource
from appliance.settings import Settings


class GpuWanted(IntEnum):
    """How much, in rising order."""

    NO = 0
    IF_THERE = 1  # the configuration permits the CPU as well
    REQUIRED = 2  # without it something that is wanted is not served


def gpu_wanted(settings: Settings) -> tuple[GpuWanted, str]:
    """Say how much, and who wants it: a setting, or a model. Raises an ApplianceError if models cannot be read."""
    if settings.gpu.uuid:
        return GpuWanted.REQUIRED, f"gpu.uuid = {settings.gpu.uuid}"
    most, who = GpuWanted.NO, ""
    with _source(settings) as source:
        for model in source.scan().values() if source is not None else ():
            for version in model.desired:
                wanted = wanted_by(model.versions[version].config) if version in model.versions else GpuWanted.NO
                if wanted > most:
                    most, who = wanted, f"{model.name} version {version}"
    return most, who


def wanted_by(config: ModelConfig) -> GpuWanted:
    """Say what one version wants, as its loading decides it: by its paths, or else by its instance groups."""
    permitted = config.execution.permitted
    if permitted:
        if all(path is ExecutionPath.CPU for path in permitted):
            return GpuWanted.NO
        return GpuWanted.IF_THERE if ExecutionPath.CPU in permitted else GpuWanted.REQUIRED
    kinds = {group.kind for group in config.instance_group} or {InstanceKind.CPU}
    if InstanceKind.GPU in kinds and config.execution.policy is ExecutionPolicy.REQUIRE:
        return GpuWanted.REQUIRED
    return GpuWanted.NO if kinds == {InstanceKind.CPU} else GpuWanted.IF_THERE


@contextmanager
def _source(settings: Settings) -> Iterator[ModelSource | None]:
    """The models that the daemon would serve, opened to be read; None where there is no registry yet."""
    if settings.models_directory is not None:
        yield DirectorySource(settings.models_directory)
    elif settings.layout.database.exists():
        yield RegistrySource(ModelRegistry.to_read(settings.layout))
    else:
        yield None
