"""The owner's first act, on a machine of their own: all keys, the root of trust, and who may sign what."""

from dataclasses import dataclass

from tuf.api.metadata import DelegatedRole, Delegations, Key, Root, Targets

from appliance.bundle.layout import POLICY_TARGET, SOFTWARE_ROLE, TICKETS_ROLE
from appliance.bundle.policy import Policy
from appliance.errors import AlreadyExists, Failed
from appliance.publish.role_rules import DELEGATED, TOP_LEVEL, RoleRule, rule_of
from appliance.publish.signed_targets import add_target
from appliance.publish.signing import keys_of
from appliance.publish.station import Station

_PATHS = {TICKETS_ROLE: ["tickets/*"], SOFTWARE_ROLE: ["software/*/*"]}


@dataclass(frozen=True, slots=True)
class SafeList:
    """Which key files belong where."""

    role: str
    files: tuple[str, ...]
    threshold: int
    safe: str


def hold_ceremony(station: Station, policy: Policy) -> list[SafeList]:
    """Make every key and sign the first root and targets. Raises AlreadyExists.

    A ceremony that was killed goes on where it stopped: keys that nobody has signed with are only files.
    """
    if not station.store.versions("targets"):
        _require_nothing_signed(station)
        _sign_root_and_targets(station, policy)
    elif all(station.store.versions(role) for role in DELEGATED):
        raise AlreadyExists(
            f"{station.directory} has had its ceremony",
            hint="change keys with: appliance publish key; or name another directory: --station DIR",
        )
    station.show_root()
    for role in DELEGATED:
        if not station.store.versions(role):
            station.signing.sign(role, Targets())
    return [safe_list(station, role) for role in (*TOP_LEVEL, *DELEGATED)]


def _require_nothing_signed(station: Station) -> None:
    """Refuse to begin anew where metadata got lost: boxes trust that root, and it cannot be made again."""
    signed = station.store.roles()
    if station.root_file.exists() or signed not in ([], ["root"]) or len(station.store.versions("root")) > 1:
        raise Failed(
            f"{station.store.directory} has lost files: it holds {', '.join(signed) or 'nothing'}, but no targets",
            hint="restore the station's directory from its copy, or hold a ceremony in another one: --station DIR",
        )


def _sign_root_and_targets(station: Station, policy: Policy) -> None:
    root = Root(consistent_snapshot=True)
    for role, rule in TOP_LEVEL.items():
        for key in _keys(station, role, rule):
            root.add_key(key, role)
        root.roles[role].threshold = rule.threshold
    if station.store.versions("root"):  # a ceremony that was cut off: its root was never given to anyone
        station.store.path("root", 1).unlink()
    station.signing.sign("root", root)
    targets = Targets(delegations=Delegations({}, {}))
    for role in DELEGATED:
        delegate(station, targets, role, _PATHS[role])
    add_target(station, targets, POLICY_TARGET, policy.to_bytes())
    station.signing.sign("targets", targets)


def delegate(station: Station, targets: Targets, role: str, paths: list[str]) -> None:
    """Let a new role sign targets of these paths, with new keys; `targets` has to be signed after it."""
    rule = rule_of(role)
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    targets.delegations.roles[role] = DelegatedRole(role, [], rule.threshold, terminating=True, paths=paths)
    for key in _keys(station, role, rule):
        targets.add_key(key, role)


def safe_list(station: Station, role: str) -> SafeList:
    """Say which files hold the keys of a role, as far as they are at hand, and where they belong."""
    keys, threshold = keys_of(station.signing.delegator(role), role)
    found = (station.ring.find(key.keyid) for key in keys)
    files = sorted(path.name for path in found if path is not None)
    return SafeList(role, tuple(files), threshold, rule_of(role).safe)


def _keys(station: Station, role: str, rule: RoleRule) -> list[Key]:
    return [station.ring.make(f"{role}-{number}") for number in range(1, rule.keys + 1)]
