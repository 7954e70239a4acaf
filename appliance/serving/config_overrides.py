"""Configurations that clients gave in place of a model's own, each for the very files that it was given for."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from appliance.model.config import ModelConfig
from appliance.model.identity import ModelName
from appliance.registry.source import AvailableVersion


@dataclass(frozen=True, slots=True)
class ConfigOverride:
    """A configuration, and the stamps of the files that it is for: others have the model's own again."""

    config: ModelConfig
    stamps: frozenset[str]


class ConfigOverrides:
    """At most one for each model."""

    def __init__(self) -> None:
        self._overrides: dict[ModelName, ConfigOverride] = {}

    def replace(
        self, name: ModelName, config: ModelConfig | None, versions: Iterable[AvailableVersion]
    ) -> ConfigOverride | None:
        """Let `config` (None: the model's own) be in force for these versions; returns what was before."""
        previous = self._overrides.pop(name, None)
        if config is not None:
            self._overrides[name] = ConfigOverride(config, frozenset(version.stamp for version in versions))
        return previous

    def restore(self, name: ModelName, previous: ConfigOverride | None) -> None:
        """Undo `replace`."""
        self.forget(name)
        if previous is not None:
            self._overrides[name] = previous

    def forget(self, name: ModelName) -> None:
        """The model is gone."""
        self._overrides.pop(name, None)

    def configured(self, available: AvailableVersion) -> AvailableVersion:
        """Return the version with the configuration that is in force."""
        override = self._overrides.get(available.name)
        if override is None or available.stamp not in override.stamps:
            return available
        return replace(available, config=override.config)
