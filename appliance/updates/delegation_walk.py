"""Who signs a target, by the metadata that a box has: from the root through every delegation, as TUF looks it up.

A file of a role whose key was revoked may lie in a generation until a bundle brings the role's next one. It counts
for nothing here: every role is held to the keys and paths that its delegator names now. Expiry is judged when a
bundle is accepted, never here.
"""

from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from appliance.bundle.layout import MOST_DELEGATIONS


def signed_digest(generation: Path, root: bytes, target: str) -> str:
    """Return the SHA-256 (hex) with which the first role that may sign this target lists it, '' if none does.

    A file that is missing or damaged signs nothing.
    """
    top = _vouched(generation, "targets", Metadata[Root].from_bytes(root))
    waiting = [] if top is None else [("targets", top)]
    seen: set[str] = set()
    while waiting and len(seen) < MOST_DELEGATIONS:
        name, role = waiting.pop()
        seen.add(name)
        found = role.signed.targets.get(target)
        if found is not None:
            return found.hashes.get("sha256", "")
        further = []
        delegations = role.signed.delegations
        for child, is_terminating in delegations.get_roles_for_target(target) if delegations else ():
            delegated = None if child in seen else _vouched(generation, child, role)
            if delegated is not None:
                further.append((child, delegated))
            if is_terminating:
                waiting.clear()
                break
        waiting.extend(reversed(further))
    return ""


def _vouched(generation: Path, role: str, delegator: Metadata[Root] | Metadata[Targets]) -> Metadata[Targets] | None:
    """Read a role's file; None unless its delegator's keys signed it."""
    try:
        metadata = Metadata[Targets].from_bytes((generation / f"{role}.json").read_bytes())
        if not isinstance(metadata.signed, Targets):
            return None
        delegator.verify_delegate(role, metadata)
    except (FileNotFoundError, RepositoryError, ValueError):
        return None
    return metadata
