"""`appliance audit`: a log that is whole, and what is said of one that is not."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.bundle.device import DeviceIdentity
from appliance.state_layout import StateLayout
from appliance.updates.audit_entry import AuditEvent
from appliance.updates.audit_log import AuditLog
from appliance.updates.device_store import DeviceStore
from appliance.updates.outcome import UpdateOutcome
from appliance.updates.receipts import sign_receipt, write_receipt
from tests.cli.terminal import Terminal

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def box(terminal: Terminal) -> Terminal:
    """Sealed, with three entries."""
    layout = StateLayout(terminal.state)
    device = DeviceStore(layout.device)
    device.seal(
        DeviceIdentity(
            serial="BOX-7",
            hardware="pc",
            site="ward-3",
            sealed_at="2026-11-23T12:00:00Z",
            receipt_key=device.make_key(),
        )
    )
    log = AuditLog(layout.audit, lambda: NOON)
    log.append(AuditEvent.SERVICE_STARTED)
    log.append(AuditEvent.UPDATE_REFUSED, {"reason": "no\x1b[2J", "code": 20})
    log.append(AuditEvent.SERVICE_STOPPED)
    return terminal


def log_file(terminal: Terminal) -> Path:
    return StateLayout(terminal.state).audit / "000000000001.jsonl"


@pytest.mark.slow
def test_a_whole_log_is_said_to_be_whole(box: Terminal) -> None:
    head = json.loads((log_file(box).parent / "head.json").read_bytes())["digest"]

    assert box.appliance("audit", "verify").out == f"the audit log is whole; it ends with entry 3, head {head[:8]}\n"
    assert box.appliance("audit", "verify", "--json").json == {"seq": 3, "head": head, "findings": []}


@pytest.mark.slow
def test_a_changed_log_fails_and_each_place_is_named(box: Terminal) -> None:
    log_file(box).write_bytes(log_file(box).read_bytes().replace(b'"code":20', b'"code":21'))

    result = box.appliance("audit", "verify", code=1)
    assert "000000000001.jsonl line 2: was changed" in " ".join(result.out.split())
    assert "next: keep it as it is" in result.story
    found = box.appliance("audit", "verify", "--json", code=1).json
    assert (found["seq"], len(found["findings"])) == (None, 1)


@pytest.mark.slow
def test_a_sealed_box_without_any_log_fails(box: Terminal) -> None:
    for path in log_file(box).parent.iterdir():
        path.unlink()

    assert "the whole log was removed" in box.appliance("audit", "verify", code=1).story


@pytest.mark.slow
def test_the_newest_entries_are_shown_and_cannot_steer_the_terminal(box: Terminal) -> None:
    shown = box.appliance("audit", "show", "--last", "2")

    assert [line.split()[0] for line in shown.out.splitlines()[:2]] == ["ENTRY", "2"]
    assert "\\x1b[2J" in shown.out
    entries = box.appliance("audit", "show", "--json").json
    assert [entry["event"] for entry in entries] == ["service_started", "update_refused", "service_stopped"]
    assert entries[1]["facts"] == {"reason": "no\x1b[2J", "code": 20}


@pytest.mark.slow
def test_an_export_can_be_checked_elsewhere(box: Terminal, terminal: Terminal, tmp_path: Path) -> None:
    exported = box.appliance("audit", "export", tmp_path / "stick", "--json").json
    key = DeviceStore(StateLayout(box.state).device).make_key()

    assert exported["seq"] == 3
    checked = box.appliance("audit", "verify", "--exported", exported["log"], "--key", key)
    assert "audit-BOX-7-3.jsonl is whole" in checked.out
    Path(exported["log"]).write_bytes(Path(exported["log"]).read_bytes()[:-10])
    box.appliance("audit", "verify", "--exported", exported["log"], "--key", key, code=1)
    box.appliance("audit", "verify", "--exported", exported["log"], code=2)


@pytest.mark.slow
def test_what_receipts_show_must_stand_in_the_log(box: Terminal, tmp_path: Path) -> None:
    layout = StateLayout(box.state)
    log = AuditLog(layout.audit, lambda: NOON)
    installed = UpdateOutcome(0, "INSTALLED", "installed")
    written = write_receipt(
        tmp_path,
        sign_receipt(
            DeviceStore(layout.device), installed, serving=(), time=NOON, software="0.1.0", audit=log.head()
        ),
    )
    receipt = tmp_path / written.path

    assert "is whole" in box.appliance("audit", "verify", "--head", log.head().short, "--receipt", receipt).out
    assert "no entry has the digest" in box.appliance("audit", "verify", "--head", "0" * 8, code=1).story
    box.appliance("audit", "verify", "--head", "xyz", code=2)
    receipt.write_bytes(receipt.read_bytes().replace(b"BOX-7", b"BOX-8"))
    assert "from another box" in box.appliance("audit", "verify", "--receipt", receipt, code=1).story


@pytest.mark.slow
def test_a_box_without_a_name_shows_an_empty_log_and_exports_none(terminal: Terminal, tmp_path: Path) -> None:
    assert terminal.appliance("audit", "show", "--json").json == []
    assert "there is no audit entry" in terminal.appliance("audit", "show").story
    assert "ends with entry 0" in terminal.appliance("audit", "verify").out
    assert "never provisioned" in terminal.appliance("audit", "export", tmp_path / "stick", code=1).story
