"""What a backup says about itself: the first thing in it, so that a person can see what it is before it is restored.

Names in a backup: `backup.json`, `state/...` as in the state directory, `settings/appliance.toml`. Pure.
"""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from appliance.bundle.signed_document import SignedDocument
from appliance.errors import InvalidInput

MANIFEST = "backup.json"
LARGEST_MANIFEST_BYTES = 1024 * 1024
SETTINGS = "settings/appliance.toml"
STATE = "state/"
BLOB = re.compile(r"state/blobs/sha256/([0-9a-f]{64})")
_NAMES = (
    BLOB,
    re.compile(r"state/registry\.db"),
    re.compile(r"state/device/(identity\.json|root\.json|receipt\.key)"),
    re.compile(r"state/trust/(current|floor\.[ab]|gen-\d{1,9}/(root_history/)?[^/]{1,255})"),
    re.compile(r"state/updates/(site(-[0-9a-f]{64})?\.toml|clock\.json)"),
    re.compile(r"state/audit/(head\.json|\d{12}\.jsonl)"),
    re.compile(re.escape(SETTINGS)),
)
_LINK_TARGET = re.compile(r"gen-\d{1,9}|root_history/\d{1,9}\.root\.json")
_SECRET, _PRIVATE, _READ_ONLY, _PUBLIC = 0o600, 0o640, 0o444, 0o644

Count = Annotated[int, Field(ge=0, le=2**53, strict=True)]


class BackupManifest(SignedDocument):
    """Of which box, when, and how much.

    serial, hardware, site: '' if nobody had provisioned the box. ticket_seq: the newest ticket that was confirmed, 0
    if none; floors: role -> version below which nothing was accepted. files, size_bytes: of everything behind this.
    """

    title: ClassVar[str] = "the description of the backup"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    created: str  # by the clock of the box
    software: str
    serial: str = ""
    hardware: str = ""
    site: str = ""
    registry_schema: Count
    models: tuple[str, ...] = ()  # 'name version', what served
    ticket_id: str = ""
    ticket_seq: Count = 0
    floors: dict[str, int] = Field(default_factory=dict)
    audit_seq: Count = 0
    audit_digest: str = ""
    files: Count
    size_bytes: Count


def require_known_name(name: str) -> None:
    """Only what a backup can hold comes out of one, wherever it is from. Raises InvalidInput."""
    parts = name.split("/")
    if not any(form.fullmatch(name) for form in _NAMES) or {"", ".", ".."} & set(parts) or not name.isprintable():
        raise InvalidInput(
            f"the backup holds {name[:200]!r}, which no backup of this version holds",
            hint="a newer version may have written it: restore it with that one",
        )


def require_known_link(name: str, target: str) -> None:
    """Links lead from trust to trust. Raises InvalidInput."""
    if not name.startswith("state/trust/") or not _LINK_TARGET.fullmatch(target):
        raise InvalidInput(f"the backup holds a link from {name[:200]!r} to {target[:200]!r}")


def mode_of(name: str) -> int:
    """Permissions of a file that comes out of a backup."""
    if name.endswith("/receipt.key"):
        return _SECRET
    if name.startswith("state/audit/"):
        return _PRIVATE
    return _READ_ONLY if BLOB.fullmatch(name) else _PUBLIC
