"""What a bundle says of one release of this software: an OCI image manifest, signed as a TUF target.

A release is a software tree (appliance/slots/tree.py) in one archive. Invariant: the same tree gives the same bytes;
parsing accepts exactly the bytes that writing gives.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self

from appliance.bundle.canonical_json import canonical_bytes, parse_canonical
from appliance.bundle.layout import PRODUCT, software_target
from appliance.bundle.oci_layers import (
    MANIFEST_TYPE,
    OWN,
    ItemFile,
    Part,
    digest_of_bytes,
    files_of,
    layers_of,
    parts_of,
)
from appliance.errors import InvalidInput
from appliance.model.identity import Digest, digest_of_hex
from appliance.slots.tree import Software

ARTIFACT_TYPE = "application/vnd.appliance.software.v1+json"
CONFIG_TYPE = "application/vnd.appliance.software.config.v1+json"
ARCHIVE = "software.tar"
_ARCHIVE_TYPE = "application/vnd.oci.image.layer.v1.tar"
_WHAT = "the software's manifest"
_LARGEST_COUNT = 2**53


@dataclass(frozen=True, slots=True)
class SoftwareItem:
    """One release for one kind of box. tree: digest of its list of files, which names everything in the archive.

    archive: an uncompressed tar of the tree's files. unpacked_bytes, file_count: what a slot needs.
    """

    software: Software
    tree: str
    unpacked_bytes: int
    file_count: int
    archive: ItemFile

    @property
    def name(self) -> str:
        """What it is called among other items."""
        return PRODUCT

    @property
    def version(self) -> str:
        """Its release."""
        return self.software.version

    @property
    def target(self) -> str:
        """Where it lies among the signed targets."""
        software = self.software
        return software_target(software.version, software.python, software.machine, software.variant)

    @property
    def size_bytes(self) -> int:
        """What has to be copied."""
        return self.archive.size_bytes

    @property
    def files(self) -> dict[str, ItemFile]:
        """What has to be brought, by path."""
        return {ARCHIVE: self.archive}

    @property
    def parts(self) -> dict[Digest, Part]:
        """Every blob that the medium must hold for it."""
        return parts_of(self.files)

    def config_bytes(self) -> bytes:
        """Write the config, the blob that every OCI manifest names: what software it is."""
        return canonical_bytes(asdict(self.software))

    def to_bytes(self) -> bytes:
        """Write the canonical OCI manifest that is signed."""
        config = self.config_bytes()
        return canonical_bytes(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "artifactType": ARTIFACT_TYPE,
                "config": {"mediaType": CONFIG_TYPE, "digest": digest_of_bytes(config), "size": len(config)},
                "layers": layers_of(self.files, lambda _: _ARCHIVE_TYPE),
                "annotations": {
                    "org.opencontainers.image.title": PRODUCT,
                    "org.opencontainers.image.version": self.software.version,
                    f"{OWN}python": self.software.python,
                    f"{OWN}machine": self.software.machine,
                    f"{OWN}variant": self.software.variant,
                    f"{OWN}data_epoch": str(self.software.data_epoch),
                    f"{OWN}tree": self.tree,
                    f"{OWN}unpacked_bytes": str(self.unpacked_bytes),
                    f"{OWN}file_count": str(self.file_count),
                },
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a manifest. Raises InvalidInput for anything but the bytes that `to_bytes` gives."""
        document = parse_canonical(data, _WHAT)
        try:
            item = cls._from_document(document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInput(f"{_WHAT}: {type(error).__name__}: {error}") from error
        if item.to_bytes() != data:
            raise InvalidInput(f"{_WHAT} says more, or something else, than this version understands")
        return item

    @classmethod
    def _from_document(cls, document: dict[str, Any]) -> Self:
        notes = document["annotations"]
        software = Software(
            version=notes["org.opencontainers.image.version"],
            python=notes[f"{OWN}python"],
            machine=notes[f"{OWN}machine"],
            data_epoch=_count(notes[f"{OWN}data_epoch"]),
            variant=notes[f"{OWN}variant"],
        )
        digest_of_hex(notes[f"{OWN}tree"])  # or it is refused
        return cls(
            software=Software.parse(software.to_bytes()),
            tree=notes[f"{OWN}tree"],
            unpacked_bytes=_count(notes[f"{OWN}unpacked_bytes"]),
            file_count=_count(notes[f"{OWN}file_count"]),
            archive=files_of(document["layers"], _WHAT)[ARCHIVE],
        )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _LARGEST_COUNT):
        raise InvalidInput(f"{_WHAT}: {text[:40]!r} is no count")
    return int(text)
