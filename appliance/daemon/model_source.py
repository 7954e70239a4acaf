"""Which ModelSource the settings ask for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from appliance.errors import InvalidInput
from appliance.registry.directory_source import DirectorySource
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.registry_source import RegistrySource
from appliance.registry.seal import is_sealed
from appliance.registry.source import ModelSource
from appliance.settings import Settings


@dataclass(frozen=True, slots=True)
class OpenSource:
    """Where models come from; `registry` is None for a plain directory."""

    source: ModelSource
    registry: ModelRegistry | None


@contextmanager
def open_source(settings: Settings) -> Iterator[OpenSource]:
    """Open the registry, or the directory that was named instead of it.

    Raises InvalidInput for a directory on a sealed box: nobody signed what lies there.
    """
    if settings.models_directory is not None:
        if is_sealed(settings.layout):
            raise InvalidInput(
                f"this box is sealed: it serves what signed bundles brought, not {settings.models_directory}",
                hint="start it without --models, or name another state directory: appliance serve --state DIR",
            )
        yield OpenSource(DirectorySource(settings.models_directory), None)
        return
    with ModelRegistry.open(settings.layout) as registry:
        yield OpenSource(RegistrySource(registry), registry)
