"""The manifest of one version: every file with its digest, as canonical JSON whose own digest names the version.

Invariant: two packages with the same files have the same manifest bytes, so the same digest; parsing accepts exactly
the bytes that writing gives.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from appliance.errors import InvalidInput
from appliance.model.identity import (
    Digest,
    ModelName,
    ModelVersion,
    digest_of_hex,
    parse_digest,
    parse_model_name,
    parse_model_version,
)
from appliance.registry.package_files import check_relative_path

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of a version."""

    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of one version by path relative to the package; `config_file` is '' if there is none."""

    name: ModelName
    version: ModelVersion
    config_file: str
    model_file: str
    licence: str
    files: Mapping[str, ManifestFile]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files.values())

    @property
    def content(self) -> set[Digest]:
        """Every blob that the version consists of, this manifest among them."""
        return {file.digest for file in self.files.values()} | {self.digest()}

    def to_bytes(self) -> bytes:
        """Write the canonical JSON."""
        document = {
            "schema": SCHEMA,
            "name": self.name,
            "version": self.version,
            "config_file": self.config_file,
            "model_file": self.model_file,
            "licence": self.licence,
            "files": {
                path: {"sha256": file.digest.removeprefix("sha256:"), "size_bytes": file.size_bytes}
                for path, file in self.files.items()
            },
        }
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    def digest(self) -> Digest:
        """Name this version's content."""
        return digest_of_hex(hashlib.sha256(self.to_bytes()).hexdigest())

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a manifest. Raises InvalidInput for anything but canonical bytes with safe paths."""
        try:
            document = json.loads(data)
            manifest = cls._from_document(document)
            canonical = manifest.to_bytes() == data
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInput(f"not a model manifest: {type(error).__name__}: {error}") from error
        if not canonical:
            raise InvalidInput(f"not a model manifest of schema {SCHEMA} in canonical form")
        return manifest

    @classmethod
    def _from_document(cls, document: dict[str, Any]) -> Self:
        files = {check_relative_path(path): _file(entry) for path, entry in document["files"].items()}
        _refuse_file_as_directory(sorted(files, key=lambda path: path.split("/")))
        for role in ("config_file", "model_file"):
            if document[role] not in files and (document[role] or role == "model_file"):
                raise InvalidInput(f"manifest: {role} '{document[role]}' is none of its files")
        return cls(
            name=parse_model_name(document["name"]),
            version=parse_model_version(str(document["version"])),
            config_file=document["config_file"],
            model_file=document["model_file"],
            licence=str(document["licence"]),
            files=files,
        )


def _file(entry: dict[str, Any]) -> ManifestFile:
    size_bytes = entry["size_bytes"]
    if type(size_bytes) is not int or size_bytes < 0:
        raise InvalidInput(f"manifest: size_bytes is {size_bytes!r}, expected a whole number")
    return ManifestFile(parse_digest(f"sha256:{entry['sha256']}"), size_bytes)


def _refuse_file_as_directory(sorted_paths: list[str]) -> None:
    for path, following in pairwise(sorted_paths):
        if following.startswith(path + "/"):
            raise InvalidInput(f"manifest: '{path}' is a file and a directory")
