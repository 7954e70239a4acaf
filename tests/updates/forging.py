"""What an attacker does to a bundle, with the keys that he has: metadata changed and signed again, in place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, MetaFile

from appliance.bundle.layout import BUNDLE_DIRECTORY
from appliance.publish.signing import keys_of
from tests.updates.boxes import Publisher


def metadata_of(stick: Path) -> Path:
    return stick / BUNDLE_DIRECTORY / "metadata"


def newest(stick: Path, role: str) -> Path:
    """The role's file with the highest version."""
    if role == "timestamp":
        return metadata_of(stick) / "timestamp.json"
    return max(metadata_of(stick).glob(f"*.{role}.json"), key=lambda path: int(path.name.partition(".")[0]))


def change(stick: Path, role: str, edit: Callable[[Any], None], signers: "list[Any] | None" = None) -> Path:
    """Edit a role's content; signed with `signers`, or with the signatures that it had. Returns the file."""
    path = newest(stick, role)
    metadata: Metadata[Any] = Metadata.from_file(str(path))
    edit(metadata.signed)
    if signers is not None:
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)
    path.unlink()
    target = path if role == "timestamp" else path.with_name(f"{metadata.signed.version}.{role}.json")
    target.write_bytes(metadata.to_bytes())
    return target


def signers_of(publisher: Publisher, role: str, count: "int | None" = None) -> list[Any]:
    """Unlock a role's keys, as whoever stole them does."""
    with publisher.opened() as station:
        keys, threshold = keys_of(station.signing.delegator(role), role)
        return list(station.ring.signers(role, keys, threshold if count is None else count))


def vouch_again(publisher: Publisher, stick: Path, role: str) -> None:
    """Let snapshot and timestamp, signed with stolen keys, name a role's file as it is now."""
    data = newest(stick, role).read_bytes()
    version = json.loads(data)["signed"]["version"]

    def name_role(snapshot: Any) -> None:
        snapshot.meta[f"{role}.json"] = MetaFile.from_data(version, data, ["sha256"])

    snapshot = change(stick, "snapshot", name_role, signers_of(publisher, "snapshot"))
    number = json.loads(snapshot.read_bytes())["signed"]["version"]

    def name_snapshot(timestamp: Any) -> None:
        timestamp.snapshot_meta = MetaFile.from_data(number, snapshot.read_bytes(), ["sha256"])

    change(stick, "timestamp", name_snapshot, signers_of(publisher, "timestamp"))
