"""What this box trusts: generations of TUF metadata of which one is current, and the version floor.

    trust/current -> gen-7          switched by rename, last
    trust/gen-7/                    python-tuf's: root_history/, timestamp.json, snapshot.json, <role>.json
    trust/floor.a, trust/floor.b    see version_floor.py

Invariants: a generation is never written to once it is in force; a new root of trust is kept at once, in a generation
that has nothing else new; everything else advances together, and only by `advance`.
"""

import hashlib
import io
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.durable import copy_hashed, disk_errors, fsync_directory, make_directory
from appliance.errors import AlreadyExists, InvalidInput
from appliance.updates.delegation_walk import signed_digest
from appliance.updates.generation import ROOT_HISTORY, role_versions, root_versions
from appliance.updates.version_floor import VersionFloor, has_advanced, read_floor, write_floor

_GENERATION = re.compile(r"gen-(\d+)")


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """The root in force. `fingerprint`: SHA-256 of its bytes in hex; `expires`: UTC."""

    version: int
    data: bytes
    fingerprint: str
    key_ids: tuple[str, ...]
    threshold: int
    expires: str
    consistent_snapshot: bool  # whether names of files on a medium begin with versions and digests
    keys: Mapping[str, tuple[str, ...]]  # timestamp and snapshot -> identifiers of the keys that sign them


class TrustStore:
    """The `trust/` directory of one state directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def is_provisioned(self) -> bool:
        """Whether somebody's root was given to this box."""
        return self._pointer.is_symlink()

    @property
    def current(self) -> Path:
        """Return the generation in force. Raises UpdateRefused (STATE_DAMAGED)."""
        path = self.directory / self._pointer.readlink() if self.is_provisioned else self._pointer
        if not path.is_dir():
            raise _damaged(f"{path} is missing")
        return path

    def provision(self, root: bytes) -> None:
        """Trust a root for the first time. Raises InvalidInput; AlreadyExists if another one is trusted;
        UpdateRefused (STATE_DAMAGED) if one was, and it cannot be found.
        """
        trusted = read_root(root)
        if self.is_provisioned:
            if self.bootstrap() == root:
                return
            raise AlreadyExists("this box trusts another root already", hint="appliance status")
        self._require_no_lost_trust()
        with disk_errors("writing the first root of trust"):
            make_directory(self.directory)
            generation = self._new_generation()
            make_directory(generation / ROOT_HISTORY)
            _write(generation / ROOT_HISTORY / f"{trusted.version}.root.json", root)
            floor = VersionFloor(counter=1, root=trusted.version, versions={}, keys=dict(trusted.keys))
            write_floor(self.directory, floor)
            self._switch(generation)

    def recover(self) -> None:
        """Remove what a crash left half-written, and generations that are not in force.

        A new root that the floor knows already is put in force: the cut came between the two. Raises UpdateRefused
        (STATE_DAMAGED), and leaves everything as it is for whoever repairs it.
        """
        if not self.directory.is_dir():
            return
        if self.is_provisioned:
            self._finish_new_root()
        else:
            self._require_no_lost_trust()
        with disk_errors("cleaning up the trust directory"):
            current = str(self._pointer.readlink()) if self.is_provisioned else ""
            stale = [entry for entry in self.directory.iterdir() if _is_stale(entry.name, current)]
            for entry in stale:
                remove = shutil.rmtree if entry.is_dir() and not entry.is_symlink() else Path.unlink
                remove(entry)
            if stale:
                fsync_directory(self.directory)

    def floor(self) -> VersionFloor:
        """Return the version floor. Raises UpdateRefused (STATE_DAMAGED)."""
        return read_floor(self.directory)

    def root(self) -> TrustedRoot:
        """Return the newest root that is trusted. Raises UpdateRefused (STATE_DAMAGED)."""
        try:
            return read_root(self.bootstrap())
        except InvalidInput as error:
            raise _damaged(error.message) from error

    def bootstrap(self) -> bytes:
        """Return the bytes of the newest root that is trusted; never one below the floor."""
        numbers = root_versions(self.current)
        if not numbers or max(numbers) < self.floor().root:
            raise _damaged(f"root {self.floor().root} was trusted and is missing in {self.current}")
        with disk_errors("reading what this box trusts"):
            return (self.current / ROOT_HISTORY / f"{max(numbers)}.root.json").read_bytes()

    def versions(self) -> dict[str, int]:
        """Return the newest version of every role that was ever trusted (whatever became of its file)."""
        return {"root": self.root().version} | self.floor().versions

    def signs(self, target: str, sha256_hex: str) -> bool:
        """Whether a role that may sign this target now lists it with this content."""
        return signed_digest(self.current, self.bootstrap(), target) == sha256_hex

    def copy_to(self, directory: Path) -> None:
        """Copy the generation in force, for python-tuf to work on."""
        shutil.copytree(self.current, directory, symlinks=True, dirs_exist_ok=True)

    def scratch(self) -> Path:
        """Name a directory beside the generations that `recover` removes."""
        return self.directory / "verify.tmp"

    def keep_roots(self, source: Path) -> None:
        """Trust new roots that python-tuf verified in `source`, whatever else becomes of the bundle."""
        new = sorted(number for number in root_versions(source) if number > self.root().version)
        if not new:
            return
        with disk_errors("keeping a new root of trust"):
            generation = self._new_generation()
            self.copy_to(generation)
            for number in new:
                name = f"{number}.root.json"
                _write(generation / ROOT_HISTORY / name, (source / ROOT_HISTORY / name).read_bytes())
            self._fsync(generation)
            floor = self.floor()
            write_floor(self.directory, floor.model_copy(update={"counter": floor.counter + 1, "root": max(new)}))
            self._switch(generation)

    def advance(self, source: Path) -> None:
        """Make verified metadata in `source` the generation in force: files, floors, then the switch."""
        with disk_errors("committing verified metadata"):
            self._fsync(source)
            generation = self._new_generation()
            source.rename(generation)
            fsync_directory(self.directory)
            root, before = self.root_of(generation), self.floor()
            roles = role_versions(generation)
            write_floor(
                self.directory,
                VersionFloor(
                    counter=before.counter + 1,
                    root=root.version,
                    versions={
                        role: max(roles.get(role, 0), before.lowest(role, root.keys))
                        for role in {*roles, *before.versions}
                    },
                    keys=dict(root.keys),
                ),
            )
            self._switch(generation)
            self.recover()

    def root_of(self, generation: Path) -> TrustedRoot:
        """Read the newest root of a generation."""
        number = max(root_versions(generation))
        return read_root((generation / ROOT_HISTORY / f"{number}.root.json").read_bytes())

    def _require_no_lost_trust(self) -> None:
        """Refuse to begin anew where more than the first root was trusted."""
        advanced = self.directory.is_dir() and any(
            (generation / "timestamp.json").exists() or len(root_versions(generation)) > 1
            for generation in self._generations()
        )
        if advanced or has_advanced(self.directory):
            raise _damaged(f"{self._pointer} is missing")

    def _finish_new_root(self) -> None:
        needed = self.floor().root
        if needed in root_versions(self.current):
            return
        for generation in sorted(self._generations(), key=_number, reverse=True):
            if _is_whole(generation, needed):  # an earlier attempt may have left half of one
                with disk_errors("putting a new root of trust in force"):
                    self._switch(generation)
                return

    @property
    def _pointer(self) -> Path:
        return self.directory / "current"

    def _new_generation(self) -> Path:
        return self.directory / f"gen-{max(map(_number, self._generations()), default=0) + 1}"

    def _generations(self) -> list[Path]:
        return [entry for entry in self.directory.iterdir() if _GENERATION.fullmatch(entry.name)]

    def _switch(self, generation: Path) -> None:
        pointer = self.directory / "current.tmp"
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(generation.name)
        os.replace(pointer, self._pointer)  # noqa: PTH105  (counted by tests of crashes)
        fsync_directory(self.directory)

    def _fsync(self, generation: Path) -> None:
        for directory, _, names in os.walk(generation):
            for name in names:
                path = Path(directory, name)
                if not path.is_symlink():
                    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    try:
                        os.fchmod(descriptor, 0o644)  # python-tuf makes them private; `inspect` is for everybody
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
            fsync_directory(Path(directory))
        fsync_directory(generation.parent)


def read_root(data: bytes) -> TrustedRoot:
    """Read a root that signs itself with its own threshold. Raises InvalidInput."""
    try:
        metadata = Metadata[Root].from_bytes(data)
        if not isinstance(metadata.signed, Root):
            raise InvalidInput("this is metadata of another role, expected root")
        metadata.verify_delegate("root", metadata)
    except (RepositoryError, ValueError) as error:
        raise InvalidInput(f"not a root of trust: {error}", hint="it is the file that publish init wrote") from error
    root = metadata.signed
    return TrustedRoot(
        version=root.version,
        data=data,
        fingerprint=hashlib.sha256(data).hexdigest(),
        key_ids=tuple(root.roles["root"].keyids),
        threshold=root.roles["root"].threshold,
        expires=root.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        consistent_snapshot=bool(root.consistent_snapshot),
        keys={role: tuple(sorted(root.roles[role].keyids)) for role in ("timestamp", "snapshot")},
    )


def _number(generation: Path) -> int:
    return int(generation.name.removeprefix("gen-"))


def _is_whole(generation: Path, root: int) -> bool:
    try:
        data = (generation / ROOT_HISTORY / f"{root}.root.json").read_bytes()
        return read_root(data).version == root
    except (FileNotFoundError, InvalidInput):
        return False


def _write(path: Path, data: bytes) -> None:
    copy_hashed(io.BytesIO(data), path, mode=0o644)
    fsync_directory(path.parent)


def _is_stale(name: str, current: str) -> bool:
    return name.endswith(".tmp") or (_GENERATION.fullmatch(name) is not None and name != current)


def _damaged(reason: str) -> UpdateRefused:
    return UpdateRefused(
        Refusal.STATE_DAMAGED,
        f"what this box trusts is damaged: {reason}",
        hint="keep a copy of the state directory for the report; then provision the box anew, with its owner",
    )
