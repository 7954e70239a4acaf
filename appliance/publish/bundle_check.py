"""What a station checks of a bundle before it leaves the house: all that a box will, and every byte of content."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from appliance.bundle.layout import (
    BLOBS_DIRECTORY,
    BUNDLE_DIRECTORY,
    METADATA_DIRECTORY,
    TARGETS_DIRECTORY,
    TICKET_TARGET,
    hashed_target,
)
from appliance.bundle.model_item import ModelItem, Part
from appliance.bundle.moments import moment_text
from appliance.bundle.ticket import Ticket
from appliance.errors import InvalidInput, NotFound
from appliance.model.identity import digest_hex
from appliance.registry.durable import hash_file

Progress = Callable[[str, int, int], None]
_ROOT = re.compile(r"([1-9][0-9]*)\.root\.json")


@dataclass(frozen=True, slots=True)
class CheckedBundle:
    """A bundle that is whole. left_out: parts that a thin bundle does without."""

    directory: Path
    ticket: Ticket
    root_version: int
    items: tuple[ModelItem, ...]
    parts: int
    left_out: int


def check_bundle(place: Path, first_root: bytes, now: datetime, progress: Progress) -> CheckedBundle:
    """Check signatures, times, targets and every part. Raises InvalidInput or NotFound with the first problem."""
    directory = place if (place / METADATA_DIRECTORY).is_dir() else place / BUNDLE_DIRECTORY
    if not (directory / METADATA_DIRECTORY).is_dir():
        raise NotFound(f"there is no bundle in {place}", hint="name the directory that `publish cut` wrote to")
    check = _Check(directory, now)
    try:
        root = check.root(first_root)
        roles = check.roles(root)
    except (RepositoryError, LengthOrHashMismatchError, ValueError, KeyError) as error:
        raise InvalidInput(f"{directory}: {error}", hint="cut the bundle again") from error
    ticket = Ticket.parse(check.target(TICKET_TARGET, roles))
    contents = {item.path: check.target(item.path, roles) for item in ticket.items}
    items = tuple(ModelItem.parse(data) for path, data in contents.items() if path.startswith("models/"))
    present, left_out = check.parts(items, progress)
    return CheckedBundle(directory, ticket, root.version, items, present, left_out)


class _Check:
    def __init__(self, directory: Path, now: datetime) -> None:
        self._directory = directory
        self._metadata = directory / METADATA_DIRECTORY
        self._now = now

    def root(self, first: bytes) -> Root:
        """Walk from the root that boxes were given to the newest one."""
        trusted: Root = Metadata[Root].from_bytes(first).signed
        names = (_ROOT.fullmatch(path.name) for path in self._metadata.iterdir())
        for number in range(trusted.version + 1, max(int(match[1]) for match in names if match) + 1):
            new: Metadata[Any] = self._read(f"{number}.root.json")
            trusted.verify_delegate("root", new.signed_bytes, new.signatures)
            new.signed.verify_delegate("root", new.signed_bytes, new.signatures)
            trusted = new.signed
        self._require_time("root", trusted)
        return trusted

    def roles(self, root: Root) -> list[Targets]:
        """Verify timestamp, snapshot, targets and every delegated role; returns what lists targets."""
        timestamp = self._verified(root, "timestamp", "timestamp.json")
        meta = timestamp.snapshot_meta
        snapshot = self._verified(root, "snapshot", f"{meta.version}.snapshot.json", meta)
        found = snapshot.meta["targets.json"]
        targets: Targets = self._verified(root, "targets", f"{found.version}.targets.json", found)
        roles = targets.delegations.roles if targets.delegations and targets.delegations.roles else {}
        delegated = []
        for role in roles:
            entry = snapshot.meta[f"{role}.json"]
            delegated.append(self._verified(targets, role, f"{entry.version}.{role}.json", entry))
        return [targets, *delegated]

    def target(self, path: str, roles: list[Targets]) -> bytes:
        """Return the content of a target."""
        found = next((role.targets[path] for role in roles if path in role.targets), None)
        if found is None:
            raise InvalidInput(f"{self._directory}: nobody signed {path}", hint="cut the bundle again")
        wanted = found.hashes["sha256"]
        place = self._directory / TARGETS_DIRECTORY / hashed_target(path, wanted)
        if not place.is_file():
            raise NotFound(f"{place} is missing", hint="cut the bundle again")
        data = place.read_bytes()
        if hashlib.sha256(data).hexdigest() != wanted:
            raise InvalidInput(f"{place} is not what was signed", hint="cut the bundle again")
        return data

    def parts(self, items: tuple[ModelItem, ...], progress: Progress) -> tuple[int, int]:
        """Hash every part; returns how many are there and how many a thin bundle leaves out."""
        thin = json.loads((self._directory / "hint.json").read_bytes()).get("thin", False)
        wanted: dict[str, Part] = {digest_hex(part.digest): part for item in items for part in item.parts.values()}
        total, done, present = sum(part.size_bytes for part in wanted.values()), 0, 0
        for name, part in wanted.items():
            path = self._directory / BLOBS_DIRECTORY / name
            if path.is_file():
                present += 1
                if path.stat().st_size != part.size_bytes or hash_file(path) != name:
                    raise InvalidInput(f"{path} is not what was signed", hint="cut the bundle again")
            elif not thin:
                raise NotFound(f"{path} is missing", hint="cut the bundle again")
            done += part.size_bytes
            progress(f"checking {name[:12]}", done, total)
        return present, len(wanted) - present

    def _verified(self, delegator: Root | Targets, role: str, name: str, meta: Any = None) -> Any:
        path = self._metadata / name
        if not path.is_file():
            raise NotFound(f"{path} is missing", hint="cut the bundle again")
        if meta is not None:
            meta.verify_length_and_hashes(path.read_bytes())
        metadata = self._read(name)
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        self._require_time(role, metadata.signed)
        return metadata.signed

    def _read(self, name: str) -> "Metadata[Any]":
        return Metadata.from_file(str(self._metadata / name))

    def _require_time(self, role: str, signed: Any) -> None:
        if signed.is_expired(self._now):
            raise InvalidInput(
                f"'{role}' of {self._directory} expired at {moment_text(signed.expires)}", hint="cut the bundle again"
            )
