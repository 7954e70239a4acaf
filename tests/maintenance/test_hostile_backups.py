"""Backups that somebody made who knows the passphrase: nothing leaves the places that a backup may fill."""

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from appliance.daemon.state_lock import daemon_lock
from appliance.errors import InvalidInput
from appliance.maintenance.backup_container import FORM, new_container
from appliance.maintenance.backup_manifest import MANIFEST, BackupManifest
from appliance.maintenance.backup_reading import verify_backup
from appliance.maintenance.restore import restore
from appliance.maintenance.restore_rules import Permission
from tests.maintenance.custody import NOON, PASSPHRASE, silent
from tests.updates.boxes import SealedBox

CONTENT = "state/blobs/sha256/" + "a" * 64


def entry(name: str, data: bytes = b"data", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def described(files: int = 1, size_bytes: int = 4) -> tuple[tarfile.TarInfo, bytes]:
    manifest = BackupManifest(
        created="2026-11-23T10:00:00Z", software="0.1.0", registry_schema=0, files=files, size_bytes=size_bytes
    )
    return entry(MANIFEST, manifest.to_bytes())


def written(target: Path, entries: Sequence[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with new_container(target, [PASSPHRASE]) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return target


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, b"", type=kind, linkname=target)


HOSTILE = {
    "above": [described(), entry("state/../../../etc/cron.d/mine")],
    "absolute": [described(), entry("/etc/passwd")],
    "elsewhere": [described(), entry("state/slots/A/site/mine.py")],
    "the lock": [described(), entry("state/erasure.json")],
    "hidden in trust": [described(), entry("state/trust/gen-1/../../device/receipt.key")],
    "link out": [described(0, 0), link("state/trust/current", "/etc")],
    "link up": [described(0, 0), link("state/trust/current", "../device")],
    "link elsewhere": [described(0, 0), link("state/device/receipt.key", "gen-1")],
    "hard link": [described(0, 0), link("state/trust/gen-1/root.json", "gen-1", tarfile.LNKTYPE)],
    "device": [described(), entry("state/registry.db", b"", type=tarfile.CHRTYPE)],
    "directory": [described(), entry("state/registry.db", b"", type=tarfile.DIRTYPE)],
    "twice": [described(2, 8), entry("state/device/root.json"), entry("state/device/root.json")],
    "more than announced": [described(1, 4), entry("state/device/root.json", b"data and more")],
    "less than announced": [described(2, 8), entry("state/device/root.json")],
    "content of another name": [described(), entry(CONTENT)],
    "no description": [entry("state/device/root.json")],
    "description twice": [described(), described()],
    "line break": [described(), entry("state/trust/gen-1/a\nb.json")],
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_no_backup_holds_is_refused_and_nothing_comes_of_it(
    tmp_path: Path, entries: Sequence[tuple[tarfile.TarInfo, bytes]]
) -> None:
    backup = written(tmp_path / "backup", entries)
    box = SealedBox(tmp_path / "state")

    with pytest.raises(InvalidInput):
        verify_backup(backup, PASSPHRASE, silent)
    with pytest.raises(InvalidInput), daemon_lock(box.layout):
        restore(box.layout, backup, PASSPHRASE, Permission(), lambda: NOON, silent)
    assert list(box.layout.root.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "state"]
    box.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: line.replace(b'"cost":2', b'"cost":2097152'),
        lambda line: line.replace(b'"AES-256-GCM"', b'"none"'),
        lambda line: line.replace(b'"kind":"scrypt"', b'"kind":"plain"'),
        lambda line: line.replace(b'"slots":[', b'"more":1,"slots":['),
        lambda line: b"{" * 60000 + b"\n",
        lambda line: b"\xff\n",
    ],
    ids=["costly", "no cipher", "no lock", "more", "deep", "no text"],
)
def test_a_beginning_that_was_changed_is_refused_before_it_costs_anything(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    backup = written(tmp_path / "backup", [described(0, 0)])
    form, line, content = backup.read_bytes().partition(b"\n")[0] + b"\n", b"", b""
    line, _, content = backup.read_bytes()[len(form) :].partition(b"\n")
    assert form == FORM
    assert verify_backup(backup, PASSPHRASE, silent).files == 0
    changed = spoil(line + b"\n")
    assert changed != line + b"\n"
    backup.write_bytes(form + changed + content)

    with pytest.raises(InvalidInput):
        verify_backup(backup, PASSPHRASE, silent)
