"""Keys come and go: one more, one for another, one that must never sign again.

Root keys and those of the top-level roles stand in the root, which its old and its new keys sign; those of all other
roles stand in targets. What the changed keys no longer vouch for is signed again at once.
"""

from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Key, Root, Targets

from appliance.errors import AlreadyExists, InvalidInput, NotFound
from appliance.publish.role_rules import TOP_LEVEL, rule_of
from appliance.publish.signing import keys_of
from appliance.publish.station import Station


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What changed. added, revoked: identifiers, '' if none; signed_again: roles."""

    role: str
    added: str
    revoked: str
    signed_again: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenAddress:
    """A key in a PKCS#11 token: the token's library and label, and the key's number in it."""

    module: Path
    label: str
    number: int


def add_key(station: Station, role: str, token: TokenAddress | None = None) -> KeyChange:
    """Give a role one more key: a new file, or one that is in a token. Raises NotFound, InvalidInput, Failed."""
    return _change(station, role, revoke="", add=True, token=token)


def rotate_key(station: Station, role: str, key_id: str) -> KeyChange:
    """Put a new key in the place of one. Raises NotFound, InvalidInput."""
    return _change(station, role, revoke=_one_key(station, role, key_id), add=True)


def revoke_key(station: Station, role: str, key_id: str) -> KeyChange:
    """Let a key never sign again. Raises NotFound, InvalidInput if too few would be left."""
    wanted = _one_key(station, role, key_id)
    keys, threshold = keys_of(station.signing.delegator(role), role)
    if len(keys) <= threshold:
        raise InvalidInput(
            f"'{role}' has {len(keys)} keys, of which {threshold} must sign: none can be spared",
            hint=f"put a new one in its place: appliance publish key rotate {role} {key_id}",
        )
    return _change(station, role, revoke=wanted, add=False)


def role_keys(station: Station) -> dict[str, tuple[list[str], int]]:
    """Return the identifiers of every role's keys, and how many of them must sign."""
    roles = [*TOP_LEVEL, *(role for role in station.signing.delegated_in_order() if role != "targets")]
    found = {role: keys_of(station.signing.delegator(role), role) for role in roles}
    return {role: ([key.keyid for key in keys], threshold) for role, (keys, threshold) in found.items()}


def _change(station: Station, role: str, *, revoke: str, add: bool, token: TokenAddress | None = None) -> KeyChange:
    delegator: Root | Targets = _delegator(station, role)
    added: Key | None = None
    if add:
        keys, _ = keys_of(delegator, role)
        name = f"{role}-{_next_number(station, role, len(keys))}"
        if token is None:
            added = station.ring.make(name)
        else:
            added = station.ring.take_token(name, token.module, token.label, token.number)
        if added in keys:
            raise AlreadyExists(f"'{role}' has this key already", hint="see its keys: appliance publish show")
        delegator.add_key(added, role)
    if revoke:
        delegator.revoke_key(revoke, role)
    station.signing.sign("root" if isinstance(delegator, Root) else "targets", delegator)
    station.show_root()
    return KeyChange(role, added.keyid if added else "", revoke, tuple(station.signing.refresh_stale()))


def _delegator(station: Station, role: str) -> Root | Targets:
    if role not in TOP_LEVEL and not station.store.versions(role):
        known = ", ".join([*TOP_LEVEL, *station.signing.delegated_in_order()[1:]])
        raise NotFound(f"there is no role '{role}', but: {known}", hint="appliance publish show")
    rule_of(role)
    return station.signing.delegator(role)


def _one_key(station: Station, role: str, beginning: str) -> str:
    keys, _ = keys_of(_delegator(station, role), role)
    found = [key.keyid for key in keys if key.keyid.startswith(beginning)]
    if len(found) != 1 or not beginning:
        known = ", ".join(key.keyid[:16] for key in keys)
        raise NotFound(
            f"'{role}' has {len(found) or 'no'} key that begins with '{beginning}', but: {known}",
            hint="see the keys of every role: appliance publish show",
        )
    return found[0]


def _next_number(station: Station, role: str, keys: int) -> int:
    """Number key files on, so that a new one is not taken for an old one."""
    return max([keys, *station.ring.numbers(role)]) + 1
