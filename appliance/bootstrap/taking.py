"""A release leaves its medium: every byte checked against what was signed, then laid out as an installation.

    OUT/root/...                        as it shall lie below /, with the software in usr/lib/appliance/rescue
    OUT/root/etc/appliance/owner.json   the root with the fingerprint: what `appliance provision` takes

Nothing of it is used before all of it was checked. What is read once from the medium is never read again.
"""

import hashlib
import shutil
from contextlib import closing
from pathlib import Path

from appliance.bootstrap.chain import missing
from appliance.bundle.layout import BLOBS_DIRECTORY
from appliance.bundle.oci_layers import Part
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.bundle.software_item import SoftwareItem
from appliance.durable import disk_errors
from appliance.errors import InvalidInput
from appliance.model.identity import digest_hex
from appliance.slots.filling import Expected, unpack
from appliance.slots.tree import INSTALLATION, check_tree, read_software
from appliance.updates.medium import Medium, NotOnMedium
from appliance.updates.read_ahead import chunks

RESCUE = "usr/lib/appliance/rescue"
OWNER_ROOT = "etc/appliance/owner.json"
_PLAIN, _PROGRAM = 0o644, 0o755


def take(medium: Medium, item: SoftwareItem, owner_root: bytes, out: Path) -> Path:
    """Lay an installation out below a new directory; returns `OUT/root`. Raises UpdateRefused, Failed."""
    root = out / "root"
    tree = root / RESCUE
    with disk_errors(f"laying software {item.version} out"):
        _require_room(item, out)
        tree.parent.mkdir(parents=True)
        archive = out / "software.tar"
        _bring(medium, item, archive)
        _unpack(archive, item, tree)
        archive.unlink()
        _lay_installation_out(tree / INSTALLATION, root, item)
        (root / OWNER_ROOT).parent.mkdir(parents=True, exist_ok=True)
        (root / OWNER_ROOT).write_bytes(owner_root)
    return root


def _require_room(item: SoftwareItem, out: Path) -> None:
    needed, free = item.size_bytes + item.unpacked_bytes, shutil.disk_usage(out).free
    if free < needed:
        raise UpdateRefused(
            Refusal.NO_SPACE,
            f"{out} has {free // 10**6} MB free, {needed // 10**6} MB are needed",
            hint="make room there, then try again",
            facts={"free": free, "needed": needed},
        )


def _bring(medium: Medium, item: SoftwareItem, archive: Path) -> None:
    whole = hashlib.sha256()
    with archive.open("xb") as stream:
        for part in item.archive.parts:
            path = f"{BLOBS_DIRECTORY}/{digest_hex(part.digest)}"
            found, size_bytes = hashlib.sha256(), 0
            try:
                source = medium.open_file(path)
            except NotOnMedium as error:
                raise missing(path) from error
            with source, closing(chunks(source)) as pieces:
                for piece in pieces:
                    size_bytes += len(piece)
                    if size_bytes > part.size_bytes:
                        break
                    found.update(piece)
                    whole.update(piece)
                    stream.write(piece)
            _require_whole(path, part, found.hexdigest(), size_bytes)
    if whole.hexdigest() != digest_hex(item.archive.digest):
        raise _mismatch("the parts of the software's archive do not give what was signed")


def _require_whole(path: str, part: Part, hex_digits: str, size_bytes: int) -> None:
    if size_bytes != part.size_bytes:
        more = "more" if size_bytes > part.size_bytes else f"{size_bytes}"
        raise _mismatch(f"{path} has {more} bytes, expected {part.size_bytes}")
    if hex_digits != digest_hex(part.digest):
        raise _mismatch(f"{path} is not what was signed")


def _unpack(archive: Path, item: SoftwareItem, tree: Path) -> None:
    try:
        with archive.open("rb") as stream:
            unpack(stream, tree, Expected(item.tree, item.size_bytes, item.unpacked_bytes, item.file_count))
        problem = check_tree(tree, item.tree)
        if not problem and read_software(tree) != item.software:
            problem = f"the tree says that it is {read_software(tree)}, its manifest {item.software}"
    except InvalidInput as error:
        problem = error.message
    if problem:
        raise _mismatch(problem)


def _lay_installation_out(installation: Path, root: Path, item: SoftwareItem) -> None:
    """Put what belongs to the installation and not to a slot in its places. Programs say so in their first line."""
    if not installation.is_dir():
        raise UpdateRefused(
            Refusal.PRECONDITION,
            f"software {item.version} brings no installation ({INSTALLATION} is not in it)",
            hint="take a release that was built by this scripts/build-software, or the owner's .deb",
        )
    for source in sorted(path for path in installation.rglob("*") if path.is_file()):
        target = root / source.relative_to(installation)
        target.parent.mkdir(parents=True, exist_ok=True)
        data = source.read_bytes()
        target.write_bytes(data)
        target.chmod(_PROGRAM if data.startswith(b"#!") else _PLAIN)


def _mismatch(text: str) -> UpdateRefused:
    return UpdateRefused(
        Refusal.HASH_MISMATCH,
        f"the bundle was changed or copied badly: {text}",
        hint="copy the bundle to the stick again, or use another stick",
        facts={"reason": text},
    )
