"""How content comes from a medium into the blobs: in this process, or in one of its own beside clients.

Both ways end in `assemble`; the rule what may become a blob stands there.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from appliance.bundle.layout import BLOBS_DIRECTORY
from appliance.bundle.oci_layers import ItemFile, Part
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.durable import exclusive_lock, make_directory
from appliance.model.identity import Digest, digest_hex
from appliance.registry.blob_store import BlobStore
from appliance.registry.part_assembly import assemble
from appliance.registry.staging import StagingArea
from appliance.state_layout import StateLayout
from appliance.updates.medium import Medium, NotOnMedium
from appliance.updates.read_ahead import chunks


class Advance(Protocol):
    """Told of each piece that has arrived; may raise, which ends the bringing."""

    def __call__(self, digest: Digest, more_bytes: int) -> None:
        """So many more bytes of this file."""


class ContentBringer(Protocol):
    """Two implementations: `bring_here` and `staging_process.bring_beside_clients`."""

    def __call__(self, layout: StateLayout, medium: Medium, files: Sequence[ItemFile], advance: Advance) -> None:
        """Put files into the blobs; those that are there are hashed again. Raises UpdateRefused, Failed."""


def bring_here(layout: StateLayout, medium: Medium, files: Sequence[ItemFile], advance: Advance) -> None:
    """Read, hash and write in this process. One process at a time: another waits."""
    blobs = BlobStore(layout.blobs, StagingArea(layout.staging))
    make_directory(layout.partial_blobs)
    with exclusive_lock(layout.partial_blobs):
        for file in files:
            assemble(
                file.digest,
                file.parts,
                partial(_read_part, medium),
                layout.partial_blobs,
                blobs,
                partial(advance, file.digest),
            )


def part_path(part: Part) -> str:
    """Where a part lies in a bundle."""
    return f"{BLOBS_DIRECTORY}/{digest_hex(part.digest)}"


def _read_part(medium: Medium, part: Part) -> Iterator[memoryview]:
    try:
        stream = medium.open_file(part_path(part))
    except NotOnMedium as error:
        raise UpdateRefused(
            Refusal.INCOMPLETE_MEDIUM,
            f"{part_path(part)} is not on the medium",
            hint="copy the bundle to the stick again",
            facts={"missing": [digest_hex(part.digest)]},
        ) from error
    with stream:
        yield from chunks(stream)
