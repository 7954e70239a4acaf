"""Trust after a restore: of what the box has and what the backup brings, the newer; floors lower than neither."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from appliance.bundle.refusal import UpdateRefused
from appliance.durable import copy_hashed
from appliance.errors import InvalidInput
from appliance.updates.trust_store import TrustedRoot, TrustStore
from appliance.updates.version_floor import VersionFloor, has_advanced, read_floor, write_floor


def merge_trust(present: Path, brought: Path) -> bool:
    """Make `brought`, a `trust/` out of a backup, at least as new as the box's own. Returns whether the box's own was
    newer, so that it stays in force. Where the box's own is damaged, its floor still counts if it can be read.

    Raises InvalidInput: the two are of different owners; UpdateRefused: what the backup holds is damaged.
    """
    own, other = TrustStore(present), TrustStore(brought)
    own_floor = _floor(present)
    if own_floor is None:
        return False
    if not own.is_provisioned or damage_of(present):
        write_floor(brought, _highest(other.root(), own_floor, other.floor()))
        return False
    own_root, other_root, other_floor = own.root(), other.root(), other.floor()
    _require_same_owner(own, other)
    stays = _age(own_root.version, own_floor.versions) > _age(other_root.version, other_floor.versions)
    if stays:
        _replace(brought, present)
    write_floor(brought, _highest(own_root if stays else other_root, own_floor, other_floor))
    return stays


def is_newer(present: Path, brought: Mapping[str, int]) -> bool:
    """Whether a box's own trust is newer than what a backup says that it brings: role -> version."""
    own = TrustStore(present)
    if not own.is_provisioned or damage_of(present):
        return False
    versions = own.versions()
    return _age(versions["root"], versions) > _age(brought.get("root", 0), brought)


def damage_of(present: Path) -> str:
    """Say why a box's own trust cannot be read; '' if it can, or if there is none."""
    own = TrustStore(present)
    try:
        if own.is_provisioned:
            own.root()
            own.floor()
        elif present.is_dir() and has_advanced(present):
            return f"{present / 'current'} is missing"
    except UpdateRefused as damaged:
        return damaged.message
    return ""


def _floor(directory: Path) -> VersionFloor | None:
    try:
        return read_floor(directory)
    except UpdateRefused:
        return None


def _age(root: int, versions: Mapping[str, int]) -> tuple[int, int]:
    return root, versions.get("timestamp", 0)


def _highest(root: TrustedRoot, one: VersionFloor, other: VersionFloor) -> VersionFloor:
    return VersionFloor(
        counter=max(one.counter, other.counter) + 1,
        root=max(one.root, other.root, root.version),
        versions={
            role: max(one.lowest(role, root.keys), other.lowest(role, root.keys))
            for role in {*one.versions, *other.versions}
        },
        keys=dict(root.keys),
    )


def _require_same_owner(own: TrustStore, other: TrustStore) -> None:
    """Both know root 1, or whichever is the oldest that both keep."""
    histories = [
        {path.name: path.read_bytes() for path in (store.current / "root_history").iterdir()}
        for store in (own, other)
    ]
    shared = histories[0].keys() & histories[1].keys()
    if not shared or any(histories[0][name] != histories[1][name] for name in shared):
        raise InvalidInput(
            "the backup trusts another owner than this box",
            hint="take a backup of this box; a box for another owner is erased first: appliance wipe",
        )


def _replace(brought: Path, present: Path) -> None:
    """Put a durable copy of the box's generation in place of the backup's."""
    shutil.rmtree(brought)
    current = TrustStore(present).current
    for source in (current, *sorted(current.rglob("*"))):
        target = brought / source.relative_to(present)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            target.mkdir(parents=True)
        else:
            with source.open("rb") as stream:
                copy_hashed(stream, target, mode=0o644)
    (brought / "current").symlink_to(current.name)
