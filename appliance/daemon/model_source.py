"""Which ModelSource the settings ask for."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from appliance.errors import ApplianceError, InvalidInput
from appliance.model.identity import ModelName
from appliance.registry.directory_source import DirectorySource
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.registry_source import RegistrySource
from appliance.registry.seal import is_sealed
from appliance.registry.source import AvailableVersion, ModelSource, SourceModel
from appliance.settings import Settings
from appliance.state_layout import StateLayout

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenSource:
    """Where models come from; `registry` is None for a plain directory."""

    source: ModelSource
    registry: ModelRegistry | None


class NoModels:
    """What the rescue software serves. Implements ModelSource."""

    def __init__(self, layout: StateLayout) -> None:
        self._layout = layout

    @property
    def description(self) -> str:
        """Where models would come from."""
        return f"registry {self._layout.root}"

    @property
    def mode(self) -> str:
        """How the source is shown."""
        return "registry"

    def scan(self) -> Mapping[ModelName, SourceModel]:
        """Want nothing."""
        return {}

    def verify(self, version: AvailableVersion) -> None:
        """Not reached: nothing is desired."""
        raise AssertionError(version)

    def refusal(self, version: AvailableVersion, allowed_crashes: int) -> str:
        """As above."""
        raise AssertionError(version, allowed_crashes)

    def load_started(self, version: AvailableVersion) -> None:
        """As above."""
        raise AssertionError(version)

    def load_finished(self, version: AvailableVersion, problem: str) -> None:
        """As above."""
        raise AssertionError(version, problem)


@contextmanager
def _registry_for_updates(settings: Settings) -> Iterator[ModelRegistry | None]:
    """Open the registry for what an update writes; None, and said, where even that cannot be done."""
    with ExitStack() as opened:
        try:
            registry = opened.enter_context(ModelRegistry.open(settings.layout))
        except ApplianceError as error:
            logger.error("no update can be taken: %s", error)  # noqa: TRY400
            yield None
        else:
            yield registry


@contextmanager
def open_source(settings: Settings, *, rescue: bool = False) -> Iterator[OpenSource]:
    """Open the registry, or the directory that was named instead of it. rescue: serve nothing of it.

    Raises InvalidInput for a directory on a sealed box: nobody signed what lies there.
    """
    if rescue:
        with _registry_for_updates(settings) as registry:
            yield OpenSource(NoModels(settings.layout), registry)
        return
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
