"""What a bundle brings, without a medium: signed manifests and the parts that they name, from real packages."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from appliance.bundle.model_item import ModelItem
from appliance.bundle.oci_layers import ItemFile, Part, digest_of_bytes
from appliance.model.identity import Digest, ModelName, ModelVersion
from appliance.registry.manifest import Manifest, ManifestFile
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.package import read_package
from appliance.registry.part_assembly import assemble
from appliance.registry.records import RegisteredVersion
from appliance.registry.signed_versions import SignedVersion
from appliance.registry.ticket_records import TicketRecord, TicketState
from tests.registry.packages import accept

PART_BYTES = 300


@dataclass
class Parts:
    """A medium's blobs. `read`: what was asked for, in order."""

    content: dict[Digest, bytes] = field(default_factory=dict)
    read: list[Digest] = field(default_factory=list)

    def cut(self, data: bytes, part_bytes: int = PART_BYTES) -> ItemFile:
        """Put a file on the medium, in parts."""
        pieces = [data[start : start + part_bytes] for start in range(0, len(data), part_bytes)] or [b""]
        for piece in pieces:
            self.content[digest_of_bytes(piece)] = piece
        parts = tuple(Part(digest_of_bytes(piece), len(piece)) for piece in pieces)
        return ItemFile(digest_of_bytes(data), len(data), parts)

    def open(self, part: Part) -> Iterator[memoryview]:
        """Read a part in pieces that share one buffer, as from a stick."""
        self.read.append(part.digest)
        data, buffer = self.content[part.digest], bytearray(128)
        for start in range(0, len(data), len(buffer)):
            piece = data[start : start + len(buffer)]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]


def item_of(package: Path, parts: Parts) -> ModelItem:
    """Make the signed manifest of a package with one version, and its parts."""
    read = read_package(package)
    ((number, version),) = read.versions.items()
    files = {path: parts.cut(file.path.read_bytes()) for path, file in version.files.items()}
    manifest = Manifest(
        read.name,
        number,
        read.config_file,
        version.model_file,
        read.licence,
        {path: ManifestFile(file.digest, file.size_bytes) for path, file in files.items()},
    )
    return ModelItem(read.name, number, read.config_file, version.model_file, read.licence, manifest.digest(), files)


def stage(registry: ModelRegistry, item: ModelItem, parts: Parts) -> None:
    """Bring every file of an item into the blobs."""
    for file in item.files.values():
        assemble(file.digest, file.parts, parts.open, registry.layout.partial_blobs, registry.blobs, lambda _: None)


def prepare(registry: ModelRegistry, item: ModelItem, parts: Parts) -> RegisteredVersion:
    stage(registry, item, parts)
    return registry.prepare_staged(item, accept)


def signed(item: ModelItem, ticket: TicketRecord) -> SignedVersion:
    target = f"models/acme/{item.name}/{item.version}.json"
    digest = digest_of_bytes(item.to_bytes())
    return SignedVersion(item.name, item.version, target, digest, ticket.digest, 7.0)


def ticket(
    number: int,
    desired: Mapping[ModelName, ModelVersion],
    previous: Mapping[ModelName, ModelVersion | None],
) -> TicketRecord:
    return TicketRecord(
        seq=number,
        id=f"t-{number}",
        digest=digest_of_bytes(f"ticket {number}".encode()),
        state=TicketState.TRIAL,
        reason="",
        items=("models/acme/digits/1.json",),
        previous=previous,
        desired=desired,
        accepted_at=5.0,
        finished_at=None,
    )


def install(registry: ModelRegistry, item: ModelItem, parts: Parts, number: int = 1) -> TicketRecord:
    """Bring one version with a ticket of its own, and desire it."""
    record = ticket(number, {item.name: item.version}, registry.desired([item.name]))
    registry.install([prepare(registry, item, parts)], [signed(item, record)], {item.name: item.version}, record)
    return record


def is_signed_by(*items: ModelItem) -> "dict[tuple[str, str], bool]":
    """What trusted metadata list: target paths and digests."""
    return {
        (f"models/acme/{item.name}/{item.version}.json", hashlib.sha256(item.to_bytes()).hexdigest()): True
        for item in items
    }
