"""Which ModelSource the settings ask for."""

from collections.abc import Iterator
from contextlib import contextmanager

from appliance.registry.directory_source import DirectorySource
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.registry_source import RegistrySource
from appliance.registry.source import ModelSource
from appliance.settings import Settings


@contextmanager
def open_source(settings: Settings) -> Iterator[ModelSource]:
    """Open the registry, or the directory that was named instead of it."""
    if settings.models_directory is not None:
        yield DirectorySource(settings.models_directory)
        return
    with ModelRegistry.open(settings.layout) as registry:
        yield RegistrySource(registry)
