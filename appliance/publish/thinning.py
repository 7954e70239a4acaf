"""A bundle without what a box has already: smaller, and only for boxes that have the rest."""

from pathlib import Path

from appliance.bundle.inventory import Inventory
from appliance.bundle.layout import BLOBS_DIRECTORY, BUNDLE_DIRECTORY, HINT_FILE
from appliance.durable import copy_hashed
from appliance.model.identity import digest_hex
from appliance.publish.bundle_check import CheckedBundle, read_hint
from appliance.publish.bundle_writer import write_hint, written_bundle


def write_thin(bundle: CheckedBundle, inventory: Inventory, to: Path) -> tuple[Path, int]:
    """Write `<to>/APPLIANCE-UPDATE` without the parts of files that are in the inventory.

    Returns its path and how many bytes it leaves out. Raises InvalidInput, AlreadyExists, Failed.
    """
    there, saved = set(inventory.files), {}
    for item in bundle.items:
        for file in item.files.values():
            if digest_hex(file.digest) in there:
                saved.update({digest_hex(part.digest): part.size_bytes for part in file.parts})
    needed = {
        digest_hex(part.digest)
        for item in bundle.items
        for file in item.files.values()
        if digest_hex(file.digest) not in there
        for part in file.parts
    }
    left_out = {name: size for name, size in saved.items() if name not in needed}
    with written_bundle(to, replace=False) as partial:
        _copy(bundle.directory, partial, set(left_out))
        write_hint(partial, read_hint(bundle.directory) | {"thin": True})
    return to / BUNDLE_DIRECTORY, sum(left_out.values())


def _copy(source: Path, partial: Path, left_out: set[str]) -> None:
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.is_dir():
            (partial / relative).mkdir(parents=True, exist_ok=True)
        elif relative.as_posix() != HINT_FILE and (
            relative.parent.as_posix() != BLOBS_DIRECTORY or path.name not in left_out
        ):
            (partial / relative).parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as stream:
                copy_hashed(stream, partial / relative, mode=None)
