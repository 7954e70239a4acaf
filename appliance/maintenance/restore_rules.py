"""Whether a backup may take the place of what a box has. Pure: facts in, an error out.

What must never happen: a box becomes another box, or an older backup makes it accept what it has left behind. So the
serial and owner must be the same; trust and version floors never go down, whatever the backup holds; and models of an
older ticket come back only when a person says so.
"""

from dataclasses import dataclass

from appliance.errors import AlreadyExists, InvalidInput, StateUnusable
from appliance.maintenance.backup_manifest import BackupManifest


@dataclass(frozen=True, slots=True)
class PresentBox:
    """What a backup would replace.

    is_empty: nobody has provisioned it and nothing is stored. serial: '' if nobody has provisioned it.
    ticket_seq: the newest confirmed one, 0 if none, or if the registry cannot be read.
    problem: why trust cannot be read, or ''.
    """

    is_empty: bool
    serial: str = ""
    ticket_seq: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Permission:
    """What the person at the keyboard has said: replace what is here; let models go back to an older ticket."""

    replace: bool = False
    older: bool = False


def require_restorable(manifest: BackupManifest, present: PresentBox, said: Permission, newest_schema: int) -> None:
    """Raises StateUnusable (a newer version wrote it), AlreadyExists, InvalidInput."""
    if manifest.registry_schema > newest_schema:
        raise StateUnusable(
            f"the backup's registry has schema {manifest.registry_schema}, this version knows up to {newest_schema}",
            hint=f"install appliance {manifest.software} first, then restore",
        )
    if not present.is_empty and not said.replace:
        raise AlreadyExists(
            f"this box is not empty{f': it is {present.serial}' if present.serial else ''}",
            hint="to replace what it has: appliance restore FILE --replace",
        )
    if present.serial and present.serial != manifest.serial:
        of = f"of {manifest.serial}" if manifest.serial else "of a box that nobody had provisioned"
        raise InvalidInput(
            f"the backup is {of}, this box is {present.serial}",
            hint="take the backup of this box; a box that shall become another one is erased first: appliance wipe",
        )
    if present.problem and not said.older:
        raise InvalidInput(
            f"what this box trusts cannot be read, so nobody can say whether the backup is older: {present.problem}",
            hint="restore with what the backup trusts, knowing that: appliance restore FILE --replace --older",
        )
    if manifest.ticket_seq < present.ticket_seq and not said.older:
        raise InvalidInput(
            f"the backup is older than this box: its newest ticket has the number {manifest.ticket_seq}, "
            f"this box has installed {present.ticket_seq}",
            hint="restore, then apply the newest stick again: appliance restore FILE --replace --older",
        )
