"""kill -9 before every file operation: the log goes on whole, a box is sealed or not, receipts stay readable."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.bundle.device import DeviceIdentity
from appliance.bundle.receipt import SignedReceipt
from appliance.state_layout import StateLayout
from appliance.updates.audit_entry import AuditEvent, AuditHead
from appliance.updates.audit_export import verify_export
from appliance.updates.audit_log import AuditLog
from appliance.updates.device_store import DeviceStore
from appliance.updates.outcome import UpdateOutcome
from appliance.updates.provisioning import provision
from appliance.updates.receipts import sign_receipt, write_receipt
from appliance.updates.trust_store import TrustStore
from tests.support.kill_points import killed_before
from tests.updates.first_roots import root_file

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROOT = root_file()


def kills(template: Path, state: Path, operation: Callable[[Path], object]) -> Iterator[str]:
    """Perform the operation on copies of `template`, killed at one place after the other; yields the place."""
    copied(template, state)
    done: list[str] = json.loads(killed_before(0, lambda: lambda: operation(state)))
    for at, what in enumerate(done, start=1):
        copied(template, state)
        assert killed_before(at, lambda: lambda: operation(state)) == '"killed"'
        yield f"killed before operation {at}: {what}"


def copied(template: Path, state: Path) -> Path:
    shutil.rmtree(state, ignore_errors=True)
    if template.exists():
        shutil.copytree(template, state)
    return state


def small_log(directory: Path) -> AuditLog:
    return AuditLog(directory, lambda: NOON, segment_bytes=700, most_segments=2)


def empty(_: Path) -> None:
    """No log yet."""


def two_entries(directory: Path) -> None:
    for number in range(2):
        small_log(directory).append(AuditEvent.MODEL_ACTIVATED, {"number": number})


def full_segment(directory: Path) -> None:
    while (directory / "000000000001.jsonl").stat().st_size < 700 if directory.exists() else True:
        small_log(directory).append(AuditEvent.MODEL_ACTIVATED)


def full_log(directory: Path) -> None:
    log = small_log(directory)
    while log.head().size_bytes < 700 or log.head().segment == 1:
        log.append(AuditEvent.MODEL_ACTIVATED)


def torn_line(directory: Path) -> None:
    two_entries(directory)
    with (directory / "000000000001.jsonl").open("ab") as stream:
        stream.write(b'{"boot_id"')


def torn_first_line_of_a_file(directory: Path) -> None:
    full_segment(directory)
    (directory / f"{small_log(directory).head().seq + 1:012d}.jsonl").write_bytes(b'{"boot_id"')


@pytest.mark.parametrize(
    "prepare", [empty, two_entries, full_segment, full_log, torn_line, torn_first_line_of_a_file]
)
def test_an_entry_that_is_killed_anywhere_is_there_or_not_and_the_chain_is_whole(
    tmp_path: Path, prepare: Callable[[Path], None]
) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    prepare(template)
    before = [entry.event for entry in small_log(template).entries()]
    places = 0

    for place in kills(template, state, lambda state: small_log(state).append(AuditEvent.UPDATE_ACCEPTED)):
        places += 1
        log = small_log(state)
        log.recover()
        assert log.verify() == [], place
        assert sum(entry.event == "update_accepted" for entry in log.entries()) <= 1, place
        log.append(AuditEvent.UPDATE_INSTALLED)
        assert log.verify() == [], place
        events = [entry.event for entry in log.entries()]
        assert events[-1] in ("update_installed", "audit_dropped"), place
        assert "audit_damaged" not in events, place
        assert prepare is full_log or events[: len(before)] == before, place
        assert len(list(state.glob("*.jsonl"))) <= 2, place
    assert places > 8


def test_an_entry_that_was_acknowledged_survives_every_kill_of_the_next(tmp_path: Path) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    two_entries(template)
    head = small_log(template).append(AuditEvent.UPDATE_ACCEPTED)

    for place in kills(template, state, lambda state: small_log(state).append(AuditEvent.UPDATE_INSTALLED)):
        assert small_log(state).entries()[2].event == "update_accepted", place
        assert small_log(state).recover().seq >= head.seq, place


def provisioned(state: Path) -> None:
    provision(StateLayout(state), ROOT, serial="BOX-7", hardware="pc", site="ward-3", now=lambda: NOON)


@pytest.mark.slow
def test_a_box_whose_provisioning_is_killed_anywhere_is_sealed_wholly_or_not_at_all(tmp_path: Path) -> None:
    state = tmp_path / "state"
    sealed_at = []

    for place in kills(tmp_path / "nothing", state, provisioned):
        layout = StateLayout(state)
        device = DeviceStore(layout.device)
        sealed_at.append(device.is_sealed)
        if device.is_sealed:
            assert_whole(layout, place)
        provisioned(state)
        assert_whole(layout, place)
        assert list(layout.device.glob("*.tmp")) == [], place
    assert sealed_at == sorted(sealed_at)
    assert sealed_at[-1]


def assert_whole(layout: StateLayout, place: str) -> None:
    device = DeviceStore(layout.device)
    identity = device.identity()
    assert identity is not None, place
    assert identity.receipt_key == device.make_key(), place
    assert device.sign(b"document"), place
    assert device.first_root() == ROOT, place
    assert TrustStore(layout.trust).bootstrap() == ROOT, place
    log = AuditLog(layout.audit, lambda: NOON)
    assert log.verify() == [], place
    assert log.entries()[-1].event == "device_provisioned", place


@pytest.fixture
def device(tmp_path: Path) -> DeviceStore:
    store = DeviceStore(tmp_path / "device")
    store.seal(
        DeviceIdentity(
            serial="BOX-7",
            hardware="pc",
            site="ward-3",
            sealed_at="2026-11-23T12:00:00Z",
            receipt_key=store.make_key(),
        )
    )
    return store


def test_a_receipt_that_is_killed_anywhere_leaves_the_others_readable(tmp_path: Path, device: DeviceStore) -> None:
    outcome = UpdateOutcome(0, "INSTALLED", "installed", ticket_id="spring", ticket_seq=7, clock="trusted")
    signed = sign_receipt(device, outcome, serving=(), time=NOON, software="0.1.0", audit=AuditHead())
    template, stick = tmp_path / "template", tmp_path / "stick"
    template.mkdir()
    write_receipt(template, signed)

    for place in kills(template, stick, lambda stick: write_receipt(stick, signed)):
        names = sorted(path.name for path in (stick / "RECEIPTS").glob("*.json"))
        assert names in (["BOX-7-spring-1.json"], ["BOX-7-spring-1.json", "BOX-7-spring-2.json"]), place
        assert write_receipt(stick, signed).path == f"RECEIPTS/BOX-7-spring-{len(names) + 1}.json", place
        for path in (stick / "RECEIPTS").iterdir():
            assert SignedReceipt.parse(path.read_bytes()) == signed, place


@pytest.mark.slow
def test_an_export_that_is_killed_anywhere_can_be_repeated(tmp_path: Path, device: DeviceStore) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    two_entries(template / "audit")

    for place in kills(template, state, lambda state: small_log(state / "audit").export(state / "stick", device)):
        exported = small_log(state / "audit").export(state / "stick", device)
        assert verify_export(exported.log, device.make_key()) == [], place
        assert small_log(state / "audit").verify() == [], place


def operations_of(state: Path, operation: Callable[[Path], object]) -> list[str]:
    done: list[str] = json.loads(killed_before(0, lambda: lambda: operation(state)))
    return done


def assert_durable_renames(operations: list[str]) -> int:
    """Content is on the disk before its name, and each name before the next step that could rely on it."""
    renames = [at for at, line in enumerate(operations) if line.startswith(("replace ", "rename "))]
    for at in renames:
        _, source, target = operations[at].split()
        written = [before for before, line in enumerate(operations[:at]) if line == f"write {source}"]
        if written:  # else it is a link
            assert f"fsync {source}" in operations[written[-1] : at]
        following = next((after for after in renames if after > at), len(operations))
        assert f"fsync {Path(target).parent}" in operations[at:following], operations[at]
    return len(renames)


@pytest.mark.parametrize("prepare", [empty, two_entries, full_segment])
def test_a_line_is_on_the_disk_before_the_head_names_it(tmp_path: Path, prepare: Callable[[Path], None]) -> None:
    """What a power cut would find."""
    state = tmp_path / "audit"
    prepare(state)
    operations = operations_of(state, lambda state: small_log(state).append(AuditEvent.UPDATE_ACCEPTED))

    segment = max(state.glob("*.jsonl"))
    head = next(at for at, line in enumerate(operations) if line.startswith("replace "))
    written = operations.index(f"write {segment}")
    assert f"fsync {segment}" in operations[written:head]
    if prepare is not two_entries:
        synced = operations.index(f"fsync {segment}")
        assert f"fsync {state}" in operations[synced:head], "a new file's name comes before the head that names it"
    assert assert_durable_renames(operations) == 1


def test_a_box_is_sealed_only_when_all_the_rest_is_on_the_disk(tmp_path: Path) -> None:
    operations = operations_of(tmp_path / "state", provisioned)

    names = [Path(line.split()[-1]).name for line in operations if line.startswith("replace ")]
    assert names == ["root.json", "receipt.key", "floor.a", "floor.b", "current", "head.json", "identity.json"]
    assert assert_durable_renames(operations) == 7
    assert operations[-1] == f"fsync {tmp_path / 'state' / 'device'}"
