"""Serves what the registry desires: every version that an alias points at."""

import logging
from collections.abc import Mapping

from appliance.durable import disk_errors, hash_file
from appliance.errors import Failed, InvalidInput
from appliance.model.identity import Digest, ModelName, ModelVersion
from appliance.registry.aliases import SERVING
from appliance.registry.blob_store import BRING_AGAIN
from appliance.registry.manifest import Manifest
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.package import parse_config
from appliance.registry.queries import get_aliases, get_digests, get_version
from appliance.registry.records import RegisteredVersion
from appliance.registry.signed_versions import BRING_SIGNED, unsigned
from appliance.registry.source import AvailableVersion, SourceModel

logger = logging.getLogger(__name__)


class RegistrySource:
    """A ModelSource over the registry of a state directory."""

    mode = "registry"

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._known: Mapping[Digest, AvailableVersion | str] = {}  # parsed once: a version never changes

    @property
    def description(self) -> str:
        """Where the models come from."""
        return f"registry {self._registry.layout.root}"

    def scan(self) -> Mapping[ModelName, SourceModel]:
        """Read which versions there are and which of them aliases point at."""
        known: dict[Digest, AvailableVersion | str] = {}
        models = {}
        with self._registry.database.reading() as connection:
            for name, digests in get_digests(connection).items():
                for version, digest in digests.items():
                    known[digest] = self._known.get(digest) or self._available(get_version(connection, name, version))
                found = {version: known[digest] for version, digest in digests.items()}
                models[name] = _source_model(name, found, get_aliases(connection, name))
        self._known = known
        if not models and (lost := self._registry.lost_versions()):
            logger.error(
                "the registry is empty, but the content of %s is here: registry.db was lost; "
                "make it anew: stop the appliance, then appliance models rebuild",
                ", ".join(lost[:5]),
            )
        return models

    def verify(self, version: AvailableVersion) -> None:
        """Hash every file that the runtime will open. Makes the view again where it is not whole.

        Raises Failed if content is missing or differs.
        """
        manifest = self._registry.version(version.name, version.version).manifest
        if manifest.digest() != version.digest:
            raise Failed(f"{manifest.name} version {manifest.version} was removed and added anew", hint="try again")
        self._require_not_in_quarantine(manifest)
        view = self._registry.views.ensure(manifest)
        for relative, file in manifest.files.items():
            with disk_errors(f"reading {view / relative}"):
                found = hash_file(view / relative)
            if f"sha256:{found}" != file.digest:
                raise Failed(
                    f"{manifest.name} version {manifest.version}: {relative} is damaged: "
                    f"content is sha256:{found}, expected {file.digest}",
                    hint=BRING_AGAIN,
                )

    def refusal(self, version: AvailableVersion, allowed_crashes: int) -> str:
        """Say why this version must not be loaded: nobody signed it, or it ended the process before."""
        if self._registry.sealed and not self._registry.is_signed(version.name, version.version):
            return f"{unsigned(version.name, version.version)} ({BRING_SIGNED})"
        return self._registry.crash_guard.refusal(version.name, version.version, allowed_crashes)

    def load_started(self, version: AvailableVersion) -> None:
        """Write the attempt down."""
        self._registry.crash_guard.load_started(version.name, version.version)

    def load_finished(self, version: AvailableVersion, problem: str) -> None:
        """Write the outcome down."""
        self._registry.crash_guard.load_finished(version.name, version.version, problem)

    def _require_not_in_quarantine(self, manifest: Manifest) -> None:
        gone = set(self._registry.quarantined())
        for relative, file in manifest.files.items():
            if file.digest in gone and not self._registry.blobs.path(file.digest).exists():
                raise Failed(
                    f"{manifest.name} version {manifest.version}: {relative} was damaged on this box's disk and was "
                    "taken out of service",
                    hint=BRING_AGAIN,
                )

    def _available(self, version: RegisteredVersion) -> AvailableVersion | str:
        """Return the version as serving sees it, or why its configuration is not understood (by an older build)."""
        where = f"{version.name} version {version.version}"
        try:
            config = parse_config(version.manifest.config_file, version.config_text, version.name, where)
        except InvalidInput as error:
            logger.error("%s cannot be served: %s", where, error)  # noqa: TRY400
            return str(error)
        directory = self._registry.views.path(version.digest)
        return AvailableVersion(
            name=version.name,
            version=version.version,
            directory=directory,
            model_file=directory / version.manifest.model_file,
            config=config,
            digest=version.digest,
            licence=version.licence,
            stamp=version.digest,
        )


def _source_model(
    name: ModelName, found: Mapping[ModelVersion, AvailableVersion | str], aliases: Mapping[str, ModelVersion]
) -> SourceModel:
    desired = tuple(sorted(set(aliases.values()), reverse=True))
    problems = [problem for version in desired if isinstance(problem := found[version], str)]
    if problems:
        return SourceModel(name, {}, (), None, aliases, problems[0])
    versions = {version: available for version, available in found.items() if not isinstance(available, str)}
    default = aliases.get(SERVING) or (desired[0] if desired else None)
    return SourceModel(name, versions, desired, default, aliases)
