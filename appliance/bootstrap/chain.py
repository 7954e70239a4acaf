"""From one fingerprint that a person brings to the release that the owner signed for this kind of box.

    root with that fingerprint -> newer roots -> timestamp -> snapshot -> targets -> tickets, software -> the release

Pure but for reading the medium and asking openssl; nothing is written. The order and the checks are TUF's, for what a
station of ours writes: consistent snapshots, one level of delegations. What a box that has an owner checks beside
that (its name, what it had before) needs state that a bare box has not.
"""

import fnmatch
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.bootstrap.openssl import OpenSsl
from appliance.bootstrap.signed_metadata import SignedMetadata
from appliance.bundle.layout import (
    LARGEST_TARGET_BYTES,
    METADATA_DIRECTORY,
    TARGETS_DIRECTORY,
    TICKET_TARGET,
    hashed_target,
)
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.updates.medium import Medium, NotOnMedium
from appliance.updates.root_chain import require_whole_chain

_ROOT = re.compile(r"([1-9][0-9]{0,8})\.root\.json")
_ROOT_BYTES, _TIMESTAMP_BYTES, _SNAPSHOT_BYTES, _TARGETS_BYTES = 512_000, 16_384, 2_000_000, 5_000_000
_COPY_AGAIN = "copy the bundle to the stick again, or use another stick"


@dataclass(frozen=True, slots=True)
class Chain:
    """What the medium says, each document signed by whom the one before it names.

    first_root: the bytes with the fingerprint, expiring: every document that vouches for something.
    """

    medium: Medium
    openssl: OpenSsl
    first_root: bytes
    snapshot: SignedMetadata
    targets: SignedMetadata
    expiring: list[SignedMetadata]

    @classmethod
    def verified(cls, medium: Medium, fingerprint: str, openssl: OpenSsl) -> "Chain":
        """Verify the documents that every bundle has. Expiry is for `require_in_time`. Raises UpdateRefused."""
        first_root, root = _newest_root(medium, fingerprint, openssl)
        timestamp = SignedMetadata.parse(_read(medium, "timestamp.json", _TIMESTAMP_BYTES), "timestamp", "timestamp")
        timestamp.require_signed(root, openssl)
        snapshot = _named(medium, timestamp, "snapshot", _SNAPSHOT_BYTES, "snapshot")
        snapshot.require_signed(root, openssl)
        targets = _named(medium, snapshot, "targets", _TARGETS_BYTES, "targets")
        targets.require_signed(root, openssl)
        return cls(medium, openssl, first_root, snapshot, targets, [root, timestamp, snapshot, targets])

    def target(self, path: str) -> bytes:
        """Return a small target from the first role that may sign it. Raises UpdateRefused."""
        for delegation in _delegations(self.targets, path):
            role = _named(self.medium, self.snapshot, delegation["name"], _TARGETS_BYTES, "targets")
            role.require_signed(self.targets, self.openssl)
            found = role.signed["targets"].get(path)
            if found is not None:
                self.expiring.append(role)
                return _content(self.medium, path, found)
            if delegation.get("terminating"):
                break
        missing = path == TICKET_TARGET
        raise UpdateRefused(
            Refusal.INCOMPLETE_MEDIUM if missing else Refusal.BAD_SIGNATURE,
            "the bundle carries no ticket"
            if missing
            else f"the ticket names {path}, but nobody who may has signed it",
            hint="ask the signing station for a new bundle",
            facts={"path": path},
        )

    def require_in_time(self, now: datetime, clock: str) -> None:
        """Refuse what has expired by `now`. clock: how that is known, for people. Raises UpdateRefused."""
        for each in self.expiring:
            if each.expires <= now:
                raise expired(f"'{each.role}' of the bundle", each.expires, clock)


def expired(what: str, until: datetime, clock: str) -> UpdateRefused:
    """Make the refusal of something whose time is over."""
    return UpdateRefused(
        Refusal.CLOCK_OR_EXPIRED,
        f"{what} held until {until:%Y-%m-%d %H:%M} UTC; {clock}",
        hint="if the clock is wrong: date -u -s 'YYYY-MM-DD HH:MM'; else ask the signing station for a new bundle",
        facts={"what": what, "until": f"{until:%Y-%m-%dT%H:%M:%SZ}"},
    )


def _newest_root(medium: Medium, fingerprint: str, openssl: OpenSsl) -> tuple[bytes, SignedMetadata]:
    """Go from the root that a person vouches for to the newest; each is signed by the one before and by itself."""
    names = medium.names(METADATA_DIRECTORY)
    numbers = sorted(int(match[1]) for name in names if (match := _ROOT.fullmatch(name)))
    roots = {number: _read(medium, f"{number}.root.json", _ROOT_BYTES) for number in numbers}
    found = next((n for n in numbers if hashlib.sha256(roots[n]).hexdigest() == fingerprint), None)
    if found is None:
        raise UpdateRefused(
            Refusal.BAD_SIGNATURE,
            f"none of the {len(numbers)} roots on the medium has the fingerprint {fingerprint}",
            hint="compare it at the signing station: appliance publish show; or it is another owner's stick",
            facts={"expected": fingerprint, "found": [hashlib.sha256(data).hexdigest() for data in roots.values()]},
        )
    require_whole_chain(medium, found)
    trusted = _root(roots[found], found)
    trusted.require_signed(trusted, openssl)
    for number in range(found + 1, numbers[-1] + 1):
        root = _root(roots[number], number)
        root.require_signed(trusted, openssl)
        root.require_signed(root, openssl)
        trusted = root
    return roots[found], trusted


def _root(data: bytes, number: int) -> SignedMetadata:
    root = SignedMetadata.parse(data, "root", "root")
    if root.version != number or root.signed.get("consistent_snapshot") is not True:
        raise _mismatch(f"{number}.root.json says that it is version {root.version}")
    return root


def _named(medium: Medium, by: SignedMetadata, role: str, limit_bytes: int, kind: str) -> SignedMetadata:
    """Read the version of a role that timestamp or snapshot names, with the size and digest that it names."""
    try:
        meta = by.signed["meta"][f"{role}.json"]
        version = int(meta["version"])
    except (KeyError, TypeError, ValueError) as error:
        raise _mismatch(f"'{by.role}' does not name '{role}'") from error
    name = f"{version}.{role}.json"
    data = _read(medium, name, limit_bytes)
    _require_same(name, data, meta)
    metadata = SignedMetadata.parse(data, role, kind)
    if metadata.version != version:
        raise _mismatch(f"{name} says that it is version {metadata.version}")
    return metadata


def _delegations(targets: SignedMetadata, path: str) -> list[dict[str, Any]]:
    try:
        roles = targets.signed["delegations"]["roles"]
        return [each for each in roles if any(_matches(path, pattern) for pattern in each["paths"])]
    except (KeyError, TypeError, AttributeError) as error:
        raise _mismatch("'targets' does not say who signs what") from error


def _matches(path: str, pattern: str) -> bool:
    """Whether a pattern names this path; '*' does not cross '/'."""
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _content(medium: Medium, path: str, named: Any) -> bytes:
    try:
        place = f"{TARGETS_DIRECTORY}/{hashed_target(path, named['hashes']['sha256'])}"
    except (KeyError, TypeError) as error:
        raise _mismatch(f"{path} is signed without a SHA-256") from error
    data = _read(medium, place, LARGEST_TARGET_BYTES, inside="")
    _require_same(place, data, named)
    return data


def _require_same(name: str, data: bytes, named: Any) -> None:
    """Compare content with the size and the SHA-256 that were signed for it, where they were."""
    length, digest = named.get("length"), named.get("hashes", {}).get("sha256")
    if length is not None and length != len(data):
        raise _mismatch(f"{name} has {len(data)} bytes, expected {length}")
    if digest is not None and digest != hashlib.sha256(data).hexdigest():
        raise _mismatch(f"{name} is not what was signed")


def _read(medium: Medium, name: str, limit_bytes: int, inside: str = f"{METADATA_DIRECTORY}/") -> bytes:
    try:
        return medium.read(f"{inside}{name}", limit_bytes)
    except NotOnMedium as error:
        raise missing(f"{inside}{name}") from error


def missing(path: str) -> UpdateRefused:
    """Make the refusal of a medium that is not whole."""
    return UpdateRefused(
        Refusal.INCOMPLETE_MEDIUM, f"{path} is not on the medium", hint=_COPY_AGAIN, facts={"missing": [path]}
    )


def _mismatch(text: str) -> UpdateRefused:
    return UpdateRefused(
        Refusal.HASH_MISMATCH,
        f"the bundle was changed or copied badly: {text}",
        hint=_COPY_AGAIN,
        facts={"reason": text},
    )
