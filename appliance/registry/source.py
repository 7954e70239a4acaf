"""Where served models come from, as serving sees it.

Two implementations: DirectorySource (a directory of packages, for development) and RegistrySource (the registry's
desired state). All methods may touch the disk and are called from worker threads, never from the event loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from appliance.model.config import ModelConfig
from appliance.model.identity import Digest, ModelName, ModelVersion


@dataclass(frozen=True, slots=True)
class AvailableVersion:
    """One version of a model whose files are on this box."""

    name: ModelName
    version: ModelVersion
    directory: Path  # the package: labels, golden samples, warm-up data are relative to it
    model_file: Path
    config: ModelConfig  # as written; not yet completed from the model file
    digest: Digest | None  # of the manifest of all files; None when served from a plain directory
    licence: str = ""
    stamp: str = ""  # differs when the files of this version differ (the digest, or sizes and times)


@dataclass(frozen=True, slots=True)
class SourceModel:
    """All that is known of one model name."""

    name: ModelName
    versions: Mapping[ModelVersion, AvailableVersion]
    desired: tuple[ModelVersion, ...]  # what shall be READY
    default: ModelVersion | None  # what an empty version means; None: the newest READY one
    aliases: Mapping[str, ModelVersion]
    problem: str = ""  # why the package could not be read; then `versions` is empty


class ModelSource(Protocol):
    """Desired state in, load outcomes out."""

    @property
    def description(self) -> str:
        """Where the models come from, for `status`: 'registry /var/lib/appliance' or 'directory models'."""

    @property
    def mode(self) -> str:
        """'registry' or 'directory'."""

    def scan(self) -> Mapping[ModelName, SourceModel]:
        """Read the desired state afresh."""

    def verify(self, version: AvailableVersion) -> None:
        """Compare the files with their recorded digests before a load. Raises Failed if one differs."""

    def refusal(self, version: AvailableVersion, allowed_crashes: int) -> str:
        """Say why this version must not be loaded again ('' if it may): the crash-loop guard."""

    def load_started(self, version: AvailableVersion) -> None:
        """Write down, durably, that a load is being tried."""

    def load_finished(self, version: AvailableVersion, problem: str) -> None:
        """Write down how the load ended; '' means READY."""
