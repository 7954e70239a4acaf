"""What the registry says about itself: plain values, read in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.model.identity import Digest, ModelName, ModelVersion
from appliance.model.signature import ModelSignature
from appliance.registry.manifest import Manifest


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """How the last attempt to load a version went. `unfinished`: attempts in a row that began and never ended."""

    started_at: float
    finished_at: float | None
    problem: str
    unfinished: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """A version that was executing when a process ended. hung: it had been called hung before."""

    process: str  # random name of that process
    name: ModelName
    version: ModelVersion
    digest: str  # of the manifest
    hung: bool


@dataclass(frozen=True, slots=True)
class Crash:
    """The end of a process, as the next one found it. uptime_s: since the start of the machine that `boot` names."""

    process: str
    boot: str
    uptime_s: float
    at: float  # seconds since 1970, by a clock that may be wrong
    hung: bool


@dataclass(frozen=True, slots=True)
class CrashedVersion:
    """A version and its crashes since it was activated, oldest first. beside: who was executing at the same times."""

    name: ModelName
    version: ModelVersion
    crashes: tuple[Crash, ...]
    beside: tuple[tuple[ModelName, ModelVersion], ...]
    refused: bool  # it is not loaded any more

    @property
    def remedy(self) -> str:
        """The command that lets it be tried again."""
        return f"appliance models activate {self.name} {self.version}"

    @property
    def beside_text(self) -> str:
        """', beside x version 1, which may be the cause as well'; '' if it was alone each time."""
        if not self.beside:
            return ""
        listed = " and ".join(f"{name} version {version}" for name, version in self.beside)
        return f", beside {listed}: which of them ended it is not known"


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """One version whose files are all on this box. Times are seconds since 1970."""

    name: ModelName
    version: ModelVersion
    digest: Digest  # of the manifest
    manifest: Manifest
    config_text: str
    provenance: Mapping[str, Any] | None
    signature: ModelSignature
    added_at: float
    last_load: LoadOutcome | None
    already_there: bool = False  # answer of `add`: this very content had been added before

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return self.manifest.size_bytes

    @property
    def licence(self) -> str:
        """As stated by the package, or 'unknown'."""
        return self.manifest.licence


@dataclass(frozen=True, slots=True)
class AliasChange:
    """One line of an alias's history; None as a version means the alias was not there."""

    alias: str
    at: float
    previous: ModelVersion | None
    version: ModelVersion | None


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """All that is registered under one name; versions oldest first, history oldest first."""

    name: ModelName
    versions: Mapping[ModelVersion, RegisteredVersion]
    aliases: Mapping[str, ModelVersion]
    history: tuple[AliasChange, ...]


@dataclass(frozen=True, slots=True)
class RegistryProblem:
    """Something that `verify` found. `subject`: 'digits version 1', a blob, or the database."""

    subject: str
    problem: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class GarbageReport:
    """What was removed because nothing referred to it."""

    blobs: int
    size_bytes: int
    views: int
