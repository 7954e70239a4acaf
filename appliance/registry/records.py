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
