"""What a bundle says of one model version: an OCI image manifest (ModelPack's media types), signed as a TUF target.

Each file of the package is one layer, or several parts in a row where it is larger than a part may be. Invariant: two
packages with the same files give the same bytes; parsing accepts exactly the bytes that writing gives.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from appliance.bundle.canonical_json import canonical_bytes, parse_canonical
from appliance.bundle.oci_layers import MANIFEST_TYPE, OWN, ItemFile, Part, files_of, layers_of, parts_of
from appliance.errors import InvalidInput
from appliance.model.identity import (
    Digest,
    ModelName,
    ModelVersion,
    parse_digest,
    parse_model_name,
    parse_model_version,
)

ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
_WEIGHT_TYPE = "application/vnd.cncf.model.weight.v1.raw"
_CONFIG_FILE_TYPE = "application/vnd.cncf.model.weight.config.v1.raw"
_DOCUMENT_TYPE = "application/vnd.cncf.model.doc.v1.raw"


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
        return parts_of(self.files)

    def config_bytes(self) -> bytes:
        """Write ModelPack's config, the blob that every OCI manifest names."""
        return canonical_bytes(
            {
                "descriptor": {"name": self.name, "version": str(self.version), "licenses": [self.licence]},
                "modelfs": {
                    "type": "layers",
                    "diffIds": [layer["digest"] for layer in layers_of(self.files, self._media_type)],
                },
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
                "layers": layers_of(self.files, self._media_type),
                "annotations": {
                    "org.opencontainers.image.title": self.name,
                    "org.opencontainers.image.version": str(self.version),
                    "org.opencontainers.image.licenses": self.licence,
                    f"{OWN}config_file": self.config_file,
                    f"{OWN}model_file": self.model_file,
                    f"{OWN}manifest": self.manifest,
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
            config_file=notes[f"{OWN}config_file"],
            model_file=notes[f"{OWN}model_file"],
            licence=notes["org.opencontainers.image.licenses"],
            manifest=parse_digest(notes[f"{OWN}manifest"]),
            files=files_of(document["layers"], "the model's manifest"),
        )

    def _media_type(self, path: str) -> str:
        if path.startswith(f"{self.version}/"):
            return _WEIGHT_TYPE
        return _CONFIG_FILE_TYPE if path == self.config_file else _DOCUMENT_TYPE
