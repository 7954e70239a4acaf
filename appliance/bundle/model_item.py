"""What a bundle says of one model version: an OCI image manifest (ModelPack's media types), signed as a TUF target.

Each file of the package is one layer, or several parts in a row where it is larger than a part may be. Invariant: two
packages with the same files give the same bytes; parsing accepts exactly the bytes that writing gives.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from appliance.bundle.canonical_json import canonical_bytes, parse_canonical
from appliance.bundle.layout import LARGEST_PART_BYTES
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

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
_WEIGHT_TYPE = "application/vnd.cncf.model.weight.v1.raw"
_CONFIG_FILE_TYPE = "application/vnd.cncf.model.weight.config.v1.raw"
_DOCUMENT_TYPE = "application/vnd.cncf.model.doc.v1.raw"
_FILE_PATH = "org.cncf.model.filepath"
_OWN = "appliance."  # annotations of our own
_LARGEST_SIZE = 2**53


@dataclass(frozen=True, slots=True)
class Part:
    """One blob on the medium."""

    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ItemFile:
    """One file of the package; its parts in a row give its content. One part: the same digest."""

    digest: Digest
    size_bytes: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class ModelItem:
    """One version of a model, by relative path in the package. `manifest`: the registry's digest of the version."""

    name: ModelName
    version: ModelVersion
    config_file: str  # '' if there is none
    model_file: str
    licence: str
    manifest: Digest
    files: Mapping[str, ItemFile]

    @property
    def size_bytes(self) -> int:
        """All files together, shared content counted once."""
        return sum({file.digest: file.size_bytes for file in self.files.values()}.values())

    @property
    def parts(self) -> dict[Digest, Part]:
        """Every blob that the medium must hold for it."""
        return {part.digest: part for file in self.files.values() for part in file.parts}

    def config_bytes(self) -> bytes:
        """Write ModelPack's config, the blob that every OCI manifest names."""
        return canonical_bytes(
            {
                "descriptor": {"name": self.name, "version": str(self.version), "licenses": [self.licence]},
                "modelfs": {"type": "layers", "diffIds": [part.digest for _, _, part in self._layers()]},
                "config": {"format": "onnx"},
            }
        )

    def to_bytes(self) -> bytes:
        """Write the canonical OCI manifest that is signed."""
        config = self.config_bytes()
        return canonical_bytes(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "artifactType": ARTIFACT_TYPE,
                "config": {
                    "mediaType": CONFIG_TYPE,
                    "digest": f"sha256:{hashlib.sha256(config).hexdigest()}",
                    "size": len(config),
                },
                "layers": [self._layer(path, number, part) for path, number, part in self._layers()],
                "annotations": {
                    "org.opencontainers.image.title": self.name,
                    "org.opencontainers.image.version": str(self.version),
                    "org.opencontainers.image.licenses": self.licence,
                    f"{_OWN}config_file": self.config_file,
                    f"{_OWN}model_file": self.model_file,
                    f"{_OWN}manifest": self.manifest,
                },
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a manifest. Raises InvalidInput for anything but the bytes that `to_bytes` gives."""
        document = parse_canonical(data, "the model's manifest")
        try:
            item = cls._from_document(document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInput(f"the model's manifest: {type(error).__name__}: {error}") from error
        if item.to_bytes() != data:
            raise InvalidInput("the model's manifest says more, or something else, than this version understands")
        return item

    @classmethod
    def _from_document(cls, document: dict[str, Any]) -> Self:
        notes = document["annotations"]
        return cls(
            name=parse_model_name(notes["org.opencontainers.image.title"]),
            version=parse_model_version(notes["org.opencontainers.image.version"]),
            config_file=notes[f"{_OWN}config_file"],
            model_file=notes[f"{_OWN}model_file"],
            licence=notes["org.opencontainers.image.licenses"],
            manifest=parse_digest(notes[f"{_OWN}manifest"]),
            files=_files(document["layers"]),
        )

    def _layers(self) -> list[tuple[str, int, Part]]:
        return [
            (path, number, part)
            for path, file in sorted(self.files.items())
            for number, part in enumerate(file.parts, start=1)
        ]

    def _layer(self, path: str, number: int, part: Part) -> dict[str, Any]:
        file = self.files[path]
        annotations = {_FILE_PATH: path}
        if len(file.parts) > 1:
            annotations |= {
                f"{_OWN}part": f"{number}/{len(file.parts)}",
                f"{_OWN}file": file.digest,
            }
        return {
            "mediaType": self._media_type(path),
            "digest": part.digest,
            "size": part.size_bytes,
            "annotations": annotations,
        }

    def _media_type(self, path: str) -> str:
        if path.startswith(f"{self.version}/"):
            return _WEIGHT_TYPE
        return _CONFIG_FILE_TYPE if path == self.config_file else _DOCUMENT_TYPE


def _files(layers: list[dict[str, Any]]) -> dict[str, ItemFile]:
    parts: dict[str, list[Part]] = {}
    whole: dict[str, Digest] = {}
    for layer in layers:
        size = layer["size"]
        if type(size) is not int or not 0 <= size <= LARGEST_PART_BYTES:
            raise InvalidInput(f"the model's manifest: size is {size!r}, expected 0 to {LARGEST_PART_BYTES}")
        path = layer["annotations"][_FILE_PATH]
        part = Part(parse_digest(layer["digest"]), size)
        parts.setdefault(path, []).append(part)
        whole[path] = parse_digest(layer["annotations"].get(f"{_OWN}file", part.digest))
    files = {
        path: ItemFile(whole[path], sum(part.size_bytes for part in found), tuple(found))
        for path, found in parts.items()
    }
    if sum(file.size_bytes for file in files.values()) > _LARGEST_SIZE:
        raise InvalidInput("the model's manifest: its sizes add up to more than any disk holds")
    return files


def digest_of_bytes(data: bytes) -> Digest:
    """Name content that is at hand."""
    return digest_of_hex(hashlib.sha256(data).hexdigest())
