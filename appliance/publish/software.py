"""A release of this software for the boxes: a software tree becomes one archive, signed by the release team."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tuf.api.metadata import Targets

from appliance.bundle.layout import LARGEST_PART_BYTES, SOFTWARE_ROLE, software_target
from appliance.bundle.oci_layers import ItemFile
from appliance.bundle.software_item import SoftwareItem
from appliance.durable import disk_errors
from appliance.errors import AlreadyExists, InvalidInput
from appliance.publish.part_writer import write_parts
from appliance.publish.signed_targets import add_target
from appliance.publish.station import Station
from appliance.slots.tree import FILE_LIST, Software, check_tree, parse_file_list, read_software, tree_digest

Progress = Callable[[str, int, int], None]


def add_software(
    station: Station,
    tree: Path,
    progress: Progress,
    part_bytes: int = LARGEST_PART_BYTES,
    *,
    allow_older: bool = False,
) -> str:
    """Sign a release. Returns the target.

    Raises InvalidInput for a tree that is not whole, or older than what is signed; AlreadyExists, Failed.
    """
    digest = tree_digest(tree)
    if not digest:
        raise InvalidInput(f"{tree} is no software tree: it has no {FILE_LIST}", hint="scripts/build-software OUT")
    if problem := check_tree(tree, digest):
        raise InvalidInput(problem, hint="build it again: scripts/build-software OUT")
    software = read_software(tree)
    paths = sorted([*parse_file_list((tree / FILE_LIST).read_bytes()), FILE_LIST])
    targets: Targets = station.store.latest(SOFTWARE_ROLE).signed
    if not allow_older:
        _require_newest(software, targets)
    station.signing.unlock(SOFTWARE_ROLE)
    item = SoftwareItem(
        software=software,
        tree=digest,
        unpacked_bytes=sum((tree / path).stat().st_size for path in paths),
        file_count=len(paths),
        archive=_stored(station, tree, paths, progress, part_bytes),
    )
    signed = targets.targets.get(item.target)
    if signed is not None and signed.hashes.get("sha256") != hashlib.sha256(item.to_bytes()).hexdigest():
        raise AlreadyExists(
            f"{item.target} was signed with other content",
            hint="a release never changes: give the new one a new version number",
        )
    add_target(station, targets, item.target, item.to_bytes())
    for data in (item.to_bytes(), item.config_bytes()):  # where oras and skopeo look
        station.blobs.put(data)
    station.signing.sign(SOFTWARE_ROLE, targets)
    return item.target


def _require_newest(software: Software, targets: Targets) -> None:
    """Refuse a release that is older than one for the same kind of box. Raises InvalidInput."""
    before, after = software_target("|", software.python, software.machine, software.variant).split("|")
    versions = [
        path.removeprefix(before).removesuffix(after)
        for path in targets.targets
        if path.startswith(before) and path.endswith(after)
    ]
    newest = max(versions, key=_order, default=software.version)
    # What is signed already may be added again: that changes nothing.
    if _order(software.version) < _order(newest) and software.version not in versions:
        raise InvalidInput(
            f"software {software.version} is older than {newest}, which is signed for {software.kind}; "
            "expected a newer one",
            hint="build the new checkout: scripts/build-software OUT; to sign the older one all the same: --force",
        )


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _stored(station: Station, tree: Path, paths: list[str], progress: Progress, part_bytes: int) -> ItemFile:
    """Write the archive into the station's blobs, in parts."""
    with disk_errors(f"archiving {tree}"), station.staging.workspace() as workspace:
        archive = workspace / "software.tar"
        with archive.open("wb") as stream:
            write_archive(tree, paths, stream)
        total, done = archive.stat().st_size, 0

        def advance(more: int) -> None:
            nonlocal done
            done += more
            progress(f"copying {tree.name}", done, total)

        return write_parts(archive, station.blobs, station.staging, part_bytes, advance)


def write_archive(tree: Path, paths: list[str], stream: IO[bytes]) -> None:
    """Write an archive that says nothing but names and content: the same tree gives the same bytes."""
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in paths:
            data = (tree / path).read_bytes()
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
