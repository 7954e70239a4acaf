"""Serves a directory of packages as it lies there: for development, without the registry.

Which versions are desired says each model's own `version_policy`. Nothing is written: the crash-loop guard is kept in
memory and so guards nothing beyond this process.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from appliance.errors import InvalidInput
from appliance.model.identity import ModelName, ModelVersion, parse_model_name
from appliance.model.lifecycle import wanted_versions
from appliance.registry.package import Package, PackageVersion, read_models_directory
from appliance.registry.source import AvailableVersion, SourceModel


class DirectorySource:
    """A ModelSource over `serve --models DIR`."""

    mode = "directory"

    def __init__(self, directory: Path) -> None:
        """Raise InvalidInput if `directory` is not one that can be read."""
        self._directory = directory.absolute()
        if not self._directory.is_dir():
            raise InvalidInput(
                f"models directory {directory} is not a directory",
                hint="name the directory that holds one directory per model: --models DIR",
            )

    @property
    def description(self) -> str:
        """Where the models come from."""
        return f"directory {self._directory}"

    def scan(self) -> Mapping[ModelName, SourceModel]:
        """Read every package afresh; one that cannot be read is a model with a problem."""
        found = read_models_directory(self._directory)
        return {_shown_name(name): _source_model(_shown_name(name), package) for name, package in found.items()}

    def verify(self, version: AvailableVersion) -> None:
        """Do nothing: a plain directory has no recorded digests."""

    def refusal(self, version: AvailableVersion, allowed_crashes: int) -> str:  # noqa: ARG002
        """Refuse nothing: this process did not survive a crash to remember it."""
        return ""

    def load_started(self, version: AvailableVersion) -> None:
        """Do nothing."""

    def load_finished(self, version: AvailableVersion, problem: str) -> None:
        """Do nothing."""


def _shown_name(directory_name: str) -> ModelName:
    """A directory with an impossible name is still listed, with its problem, so that its owner sees why."""
    try:
        return parse_model_name(directory_name)
    except InvalidInput:
        return ModelName(directory_name)


def _source_model(name: ModelName, package: Package | str) -> SourceModel:
    if isinstance(package, str):
        return SourceModel(name, {}, (), None, {}, package)
    versions = {number: _available(package, version) for number, version in package.versions.items()}
    desired = tuple(wanted_versions(package.config.version_policy, versions))
    return SourceModel(name, versions, desired, None, {}, _no_version(package, desired))


def _no_version(package: Package, desired: tuple[ModelVersion, ...]) -> str:
    if desired:
        return ""
    present = ", ".join(map(str, package.versions))
    return f"{package.directory}: version_policy asks for no version that is there (found: {present})"


def _available(package: Package, version: PackageVersion) -> AvailableVersion:
    return AvailableVersion(
        name=package.name,
        version=version.version,
        directory=package.directory,
        model_file=package.directory / version.model_file,
        config=package.config,
        digest=None,
        licence=package.licence,
        stamp=_stamp(version),
    )


def _stamp(version: PackageVersion) -> str:
    """Tell one state of the files from another without reading them."""
    lines = (f"{path}\0{file.size_bytes}\0{file.modified_ns}\n" for path, file in version.files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()
