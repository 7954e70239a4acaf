"""The metadata of a bundle, verified as strictly as a box does it: signatures, versions, times, paths."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from appliance.bundle.layout import METADATA_DIRECTORY
from appliance.bundle.moments import moment_text
from appliance.errors import InvalidInput, NotFound

CUT_AGAIN = "cut the bundle again"
_ROOT = re.compile(r"([1-9][0-9]{0,8})\.root\.json")


class BundleMetadata:
    """What a bundle's roles say, all verified."""

    def __init__(self, directory: Path, first_root: bytes, now: datetime) -> None:
        """Verify from the root that boxes were given on. Raises InvalidInput or NotFound with the first problem."""
        self._metadata = directory / METADATA_DIRECTORY
        self._now = now
        try:
            self.root = self._newest_root(Metadata[Root].from_bytes(first_root).signed)
            self._verify_roles()
        except (RepositoryError, ValueError) as error:
            raise InvalidInput(f"{directory}: {error}", hint=CUT_AGAIN) from error

    def find(self, path: str) -> TargetFile:
        """Return what the role that may sign this target says of it. Raises InvalidInput."""
        for role in self._who_may_sign(path):
            if path in role.targets:
                return role.targets[path]
        raise InvalidInput(f"{self._metadata.parent}: nobody who may sign {path} has signed it", hint=CUT_AGAIN)

    def of_targets(self) -> list[str]:
        """Return what the release approvers signed themselves: the policy."""
        return list(self._targets.targets)

    def _who_may_sign(self, path: str) -> Iterator[Targets]:
        yield self._targets
        if self._targets.delegations is not None:
            for role, is_terminating in self._targets.delegations.get_roles_for_target(path):
                yield self._delegated[role]
                if is_terminating:
                    return

    def _newest_root(self, trusted: Root) -> Root:
        names = (_ROOT.fullmatch(path.name) for path in self._metadata.iterdir())
        newest = max((int(match[1]) for match in names if match), default=0)
        for number in range(trusted.version + 1, newest + 1):
            metadata = self._read(f"{number}.root.json", Root, number)
            for delegator in (trusted, metadata.signed):
                delegator.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
            trusted = metadata.signed
        self._require_time("root", trusted)
        return trusted

    def _verify_roles(self) -> None:
        timestamp = self._verified(self.root, "timestamp", "timestamp.json", Timestamp)
        meta = timestamp.snapshot_meta
        snapshot = self._verified(self.root, "snapshot", f"{meta.version}.snapshot.json", Snapshot, meta)
        self._targets = self._listed(self.root, snapshot, "targets")
        delegations = self._targets.delegations
        roles = delegations.roles if delegations is not None and delegations.roles else {}
        self._delegated = {role: self._listed(self._targets, snapshot, role) for role in roles}

    def _listed(self, delegator: Root | Targets, snapshot: Snapshot, role: str) -> Targets:
        meta = snapshot.meta.get(f"{role}.json")
        if meta is None:
            raise InvalidInput(f"{self._metadata}: the snapshot does not list '{role}'", hint=CUT_AGAIN)
        found: Targets = self._verified(delegator, role, f"{meta.version}.{role}.json", Targets, meta)
        return found

    def _verified(
        self, delegator: Root | Targets, role: str, name: str, kind: type[Signed], meta: MetaFile | None = None
    ) -> Any:
        metadata = self._read(name, kind, meta.version if meta is not None else None, meta)
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        self._require_time(role, metadata.signed)
        return metadata.signed

    def _read(
        self, name: str, kind: type[Signed], version: int | None, meta: MetaFile | None = None
    ) -> "Metadata[Any]":
        """Read a file that must hold this kind of role, in this version, with the bytes that `meta` names."""
        path = self._metadata / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"{path} is missing", hint=CUT_AGAIN) from None
        if meta is not None:
            meta.verify_length_and_hashes(data)
        metadata: Metadata[Any] = Metadata.from_bytes(data)
        found = metadata.signed
        if found.type != kind.type or version not in (None, found.version):
            raise InvalidInput(f"{path} is version {found.version} of '{found.type}'", hint=CUT_AGAIN)
        return metadata

    def _require_time(self, role: str, signed: Any) -> None:
        if signed.is_expired(self._now):
            raise InvalidInput(
                f"'{role}' of {self._metadata.parent} expired at {moment_text(signed.expires)}", hint=CUT_AGAIN
            )
