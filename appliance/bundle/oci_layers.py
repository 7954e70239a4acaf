"""Files as the layers of an OCI image manifest: one layer each, or several parts in a row where one is too large.

Pure. Other tools find everything in a bundle's `oci/` by these documents.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from appliance.bundle.layout import LARGEST_PART_BYTES
from appliance.errors import InvalidInput
from appliance.model.identity import Digest, digest_of_hex, parse_digest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
OWN = "appliance."  # annotations of our own
_FILE_PATH = "org.cncf.model.filepath"
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


def parts_of(files: Mapping[str, ItemFile]) -> dict[Digest, Part]:
    """Return every blob that the medium must hold for these files."""
    return {part.digest: part for file in files.values() for part in file.parts}


def layers_of(files: Mapping[str, ItemFile], media_type: Callable[[str], str]) -> list[dict[str, Any]]:
    """Write the layers of files by relative path; `media_type` is asked for each path."""
    return [
        _layer(path, files[path], number, media_type(path))
        for path in sorted(files)
        for number in range(1, len(files[path].parts) + 1)
    ]


def _layer(path: str, file: ItemFile, number: int, media_type: str) -> dict[str, Any]:
    part = file.parts[number - 1]
    annotations = {_FILE_PATH: path}
    if len(file.parts) > 1:
        annotations |= {f"{OWN}part": f"{number}/{len(file.parts)}", f"{OWN}file": file.digest}
    return {"mediaType": media_type, "digest": part.digest, "size": part.size_bytes, "annotations": annotations}


def files_of(layers: list[dict[str, Any]], what: str) -> dict[str, ItemFile]:
    """Read what `layers_of` wrote; `what` names the document in errors. Raises InvalidInput, KeyError, TypeError."""
    parts: dict[str, list[Part]] = {}
    whole: dict[str, Digest] = {}
    for layer in layers:
        size = layer["size"]
        if type(size) is not int or not 0 <= size <= LARGEST_PART_BYTES:
            raise InvalidInput(f"{what}: size is {size!r}, expected 0 to {LARGEST_PART_BYTES}")
        path = layer["annotations"][_FILE_PATH]
        part = Part(parse_digest(layer["digest"]), size)
        parts.setdefault(path, []).append(part)
        whole[path] = parse_digest(layer["annotations"].get(f"{OWN}file", part.digest))
    files = {
        path: ItemFile(whole[path], sum(part.size_bytes for part in found), tuple(found))
        for path, found in parts.items()
    }
    if sum(file.size_bytes for file in files.values()) > _LARGEST_SIZE:
        raise InvalidInput(f"{what}: its sizes add up to more than any disk holds")
    return files


def digest_of_bytes(data: bytes) -> Digest:
    """Name content that is at hand."""
    return digest_of_hex(hashlib.sha256(data).hexdigest())
