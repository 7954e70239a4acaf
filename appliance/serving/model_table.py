"""What is known of every model: the versions, their states, and which one a request means.

Ownership: lives on the event loop; written by ModelManager only. `serving` is rebuilt at each change, so that the
look-up of a request is two dictionary accesses.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from appliance.errors import ApplianceError, Busy, Failed, InvalidInput, NotFound
from appliance.model.identity import ModelName, ModelVersion
from appliance.model.lifecycle import LEGAL_SUCCESSORS, UNLOADED, ModelState
from appliance.registry.source import AvailableVersion, SourceModel
from appliance.serving.loaded_model import LoadedModel

_LATEST = ("", "-1")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")  # fits into 64 bits


@dataclass(slots=True)
class VersionEntry:
    """One version and where it stands. `model` is set while READY."""

    version: ModelVersion
    available: AvailableVersion
    state: ModelState = ModelState.UNKNOWN
    reason: str = ""
    model: LoadedModel | None = None
    draining: "asyncio.Task[None] | None" = None  # while UNLOADING
    building: "asyncio.Task[None] | None" = None  # the engine that it needs, or changes over to
    engine_of: AvailableVersion | None = None  # what that engine is built for

    @property
    def waits_for_engine(self) -> bool:
        """Whether what is desired serves only when the engine is built."""
        serves = self.model is not None and self.model.awaits_engine and self.model.available == self.engine_of
        return self.building is not None and not serves

    def move(self, state: ModelState, reason: str = "") -> None:
        """Change state; only legal steps."""
        assert state in LEGAL_SUCCESSORS[self.state], f"{self.state} -> {state}"
        self.state, self.reason = state, reason


@dataclass(slots=True)
class ModelEntry:
    """One model name."""

    source: SourceModel
    versions: dict[ModelVersion, VersionEntry] = field(default_factory=dict)

    def ready(self) -> list[LoadedModel]:
        """READY versions, newest first."""
        entries = sorted(self.versions.items(), reverse=True)
        return [entry.model for _, entry in entries if entry.model is not None]

    def default(self) -> LoadedModel | None:
        """The version that a request without a version means."""
        ready = self.ready()
        preferred = [model for model in ready if model.version == self.source.default]
        return next(iter(preferred or ready), None)


class ModelTable:
    """All models by name."""

    def __init__(self) -> None:
        self.entries: dict[ModelName, ModelEntry] = {}
        self.started = False  # whether all that was wanted at the start has settled; until then it may yet come
        self.generation = 0  # changes whenever a look-up may mean something else
        self._serving: dict[str, dict[str, LoadedModel]] = {}

    def versions(self) -> list[VersionEntry]:
        """Every version of every model."""
        return [version for entry in self.entries.values() for version in entry.versions.values()]

    def entry_for(self, name: ModelName, source: SourceModel) -> ModelEntry:
        """Take note of what the source says of a model now."""
        entry = self.entries.setdefault(name, ModelEntry(source))
        if source.problem:  # what is loaded goes on serving; the reason is shown
            entry.source = replace(entry.source, problem=source.problem)
            return entry
        entry.source = source
        for number, available in source.versions.items():
            entry.versions.setdefault(number, VersionEntry(number, available)).available = available
        return entry

    def lookup(self, name: str, version: str) -> LoadedModel:
        """Return the READY version that a request means. `name` may be `model@alias`.

        Raises NotFound, Busy (known but not READY, or the start goes on) or InvalidInput (not a version number).
        """
        try:
            return self._serving[name][version]
        except KeyError:
            pass
        try:
            return self._lookup_slowly(name, version)
        except NotFound as missing:
            if self.started:
                raise
            raise Busy(f"{missing.message}: the models are being loaded, try again", hint=missing.hint) from None

    def rebuild(self) -> None:
        """Recompute what requests see. Called after each change of state."""
        serving: dict[str, dict[str, LoadedModel]] = {}
        for name, entry in self.entries.items():
            by_version = {model.version_text: model for model in entry.ready()}
            default = entry.default()
            if default is not None:
                by_version.update(dict.fromkeys(_LATEST, default))
            serving[name] = by_version
            for alias, version in entry.source.aliases.items():
                if str(version) in by_version:
                    model = by_version[str(version)]
                    serving[f"{name}@{alias}"] = dict.fromkeys((*_LATEST, model.version_text), model)
        self._serving = serving
        self.generation += 1

    def is_ready(self, name: str, version: str) -> bool:
        """Say whether such a request would be served. Unknown names are not ready, bad version numbers an error."""
        try:
            self.lookup(name, version)
        except InvalidInput:
            raise
        except ApplianceError:
            return False
        return True

    def known(self, name: str, version: str = "") -> ModelEntry:
        """Return a model by name, READY or not. Raises NotFound."""
        entry = self.entries.get(ModelName(name.partition("@")[0]))
        alias = name.partition("@")[2]
        if alias and (entry is None or alias not in entry.source.aliases):
            raise _unknown(name, "")
        if entry is None or (version and version not in _LATEST and _number(version) not in entry.versions):
            raise _unknown(name, version if entry is not None else "")
        return entry

    def loaded(self) -> Iterator[LoadedModel]:
        """All READY versions by name, oldest first."""
        for _, entry in sorted(self.entries.items()):
            yield from reversed(entry.ready())

    def rows(self) -> Iterator[tuple[ModelName, VersionEntry | None, str]]:
        """One row for each version (name, entry, reason); a model without any has one row without an entry."""
        for name, entry in sorted(self.entries.items()):
            for _, version in sorted(entry.versions.items()):
                yield name, version, version.reason or entry.source.problem
            if not entry.versions:
                yield name, None, entry.source.problem

    def all_ready(self) -> bool:
        """Say whether everything that is to be served is READY."""
        return all(
            not entry.source.problem and all(_settled(version) for version in entry.versions.values())
            for entry in self.entries.values()
        )

    def _lookup_slowly(self, name: str, version: str) -> LoadedModel:
        """Serve an unusual spelling of a version number ("01"), or explain why nothing can be served."""
        number = _number(version) if version not in _LATEST else None
        entry = self.entries.get(ModelName(name.partition("@")[0]))
        alias = name.partition("@")[2]
        if entry is None or (alias and alias not in entry.source.aliases):
            raise _unknown(name, "")
        if number is None:
            raise NotFound(f"Request for unknown model: '{name}' has no available versions", hint=_HINT)
        found = self._serving.get(name, {}).get(str(number))
        if found is not None:
            return found
        if number in entry.versions and not alias:
            state = entry.versions[number].state.value
            raise Busy(
                f"Request for unknown model: '{name}' version {number} is not at ready state: it is {state}",
                hint=_HINT,
            )
        raise _unknown(name, version)


_HINT = "states and reasons: appliance status"


def _settled(version: VersionEntry) -> bool:
    """A version is settled when it serves, was asked to leave, or was never asked for."""
    return version.state in (ModelState.READY, ModelState.UNKNOWN) or version.reason == UNLOADED


def _unknown(name: str, version: str) -> NotFound:
    which = f"'{name}' version {version}" if version else f"'{name}'"
    return NotFound(f"Request for unknown model: {which} is not found", hint=_HINT)


def _number(version: str) -> ModelVersion:
    if not _NUMBER.fullmatch(version):
        raise InvalidInput(
            f"failed to get model version from specified version string '{version[:40]}', expected a whole number"
        )
    return ModelVersion(int(version))


def versions_to_load(name: ModelName, source: SourceModel | None) -> tuple[ModelVersion, ...]:
    """The versions that a load of this model means. Raises Failed if there are none."""
    if source is None or source.problem:
        problem = source.problem if source is not None else "it is not in the repository"
        raise Failed(f"failed to load '{name}', failed to poll from model repository: {problem}")
    if not source.desired:
        raise Failed(
            f"failed to load '{name}', no version is available: none is active",
            hint=f"appliance models activate {name} VERSION",
        )
    return source.desired


def why_none_came_up(versions: Sequence[VersionEntry]) -> str:
    """Say why a load of these versions failed, '' if one of them came up."""
    if any(version.model and not version.reason for version in versions):
        return ""
    which = "" if any(version.model for version in versions) else "no version is available: "
    return which + "; ".join(version.reason for version in versions)
