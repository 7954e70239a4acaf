"""Provisioning: a box gets its owner and its name once, wholly or not at all."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import AlreadyExists, Failed, InvalidInput
from appliance.state_layout import StateLayout
from appliance.updates.audit_log import AuditLog
from appliance.updates.device_store import DeviceStore
from appliance.updates.provisioning import Provisioned, provision
from appliance.updates.trust_store import TrustStore
from tests.updates.first_roots import root_file

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROOT = root_file()
WARD = {"serial": "BOX-7", "hardware": "jetson-orin", "site": "ward-3", "groups": ("beta", "radiology")}


@pytest.fixture
def layout(tmp_path: Path) -> StateLayout:
    return StateLayout(tmp_path / "state")


def seal(layout: StateLayout, root: bytes = ROOT, **values: Any) -> Provisioned:
    return provision(layout, root, now=lambda: NOON, **{**WARD, **values})


def files(layout: StateLayout) -> dict[str, bytes]:
    return {
        str(path.relative_to(layout.root)): path.read_bytes() for path in layout.root.rglob("*") if path.is_file()
    }


def test_a_provisioned_box_knows_its_name_its_owner_and_its_key(layout: StateLayout) -> None:
    done = seal(layout)

    device = DeviceStore(layout.device)
    identity = device.identity()
    assert done.is_new
    assert identity == done.identity
    assert identity is not None
    assert (identity.serial, identity.hardware, identity.site) == ("BOX-7", "jetson-orin", "ward-3")
    assert identity.memberships == {"beta", "radiology", "ward-3"}
    assert identity.sealed_at == "2026-11-23T12:00:00Z"
    assert identity.receipt_key == device.make_key()
    assert device.first_root() == ROOT
    assert TrustStore(layout.trust).bootstrap() == ROOT


def test_the_audit_log_says_who_the_box_belongs_to(layout: StateLayout) -> None:
    done = seal(layout)

    log = AuditLog(layout.audit, lambda: NOON)
    (entry,) = log.entries()
    assert entry.event == "device_provisioned"
    assert entry.facts["serial"] == "BOX-7"
    assert entry.facts["root_sha256"] == hashlib.sha256(ROOT).hexdigest() == done.root.fingerprint
    assert log.verify() == []


def test_the_same_command_once_more_changes_nothing(layout: StateLayout) -> None:
    first = seal(layout)
    before = files(layout)
    again = seal(layout)

    assert not again.is_new
    assert again.identity == first.identity
    assert files(layout) == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"serial": "BOX-8"}, "its serial is 'BOX-7', not 'BOX-8'"),
        ({"site": "ward-4"}, "its site is 'ward-3', not 'ward-4'"),
        ({"hardware": "pc"}, "its hardware is 'jetson-orin', not 'pc'"),
        ({"groups": ()}, "its groups is beta, radiology, not none"),
        ({"root": root_file()}, "another root file"),
    ],
)
def test_a_sealed_box_is_not_given_away(layout: StateLayout, values: dict[str, Any], message: str) -> None:
    seal(layout)
    before = files(layout)

    with pytest.raises(AlreadyExists, match=message) as refused:
        seal(layout, **values)
    assert "appliance status" in refused.value.hint
    assert files(layout) == before


def cut_short(data: bytes) -> bytes:
    return data[: len(data) // 2]


def another_type(data: bytes) -> bytes:
    return data.replace(b'"root"', b'"targets"')


def one_more_day(data: bytes) -> bytes:
    return data.replace(b"2036-01-01", b"2036-01-02")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: b"", "not a root of trust"),
        (lambda _: b"[" * 100_000, "not a root of trust"),
        (lambda _: b"{}", "not a root of trust"),
        (lambda _: b" " * 600_000, "more than 512000"),
        (cut_short, "not a root of trust"),
        (another_type, "not a root of trust"),
        (one_more_day, "signed by 0/2 keys"),
        (lambda _: root_file(signers=1), "signed by 1/2 keys"),
    ],
)
def test_a_root_file_that_its_keys_did_not_sign_leaves_nothing_behind(
    layout: StateLayout, damage: Callable[[bytes], bytes], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        seal(layout, damage(ROOT))

    assert not layout.root.exists()


def test_a_root_with_one_key_listed_twice_does_not_count_it_twice(layout: StateLayout) -> None:
    document = json.loads(root_file(signers=1))
    document["signatures"].append(document["signatures"][0])

    with pytest.raises(InvalidInput, match=r"not a root of trust|signed by 1/2"):
        seal(layout, json.dumps(document).encode())


@pytest.mark.parametrize(
    "values",
    [
        {"serial": ""},
        {"serial": "../etc"},
        {"serial": "x" * 65},
        {"site": "Ward 3"},
        {"hardware": ""},
        {"hardware": "a\nb"},
        {"groups": ("ok", "NOT OK")},
        {"serial": "\udcff"},
    ],
)
def test_names_that_no_ticket_could_carry_leave_nothing_behind(layout: StateLayout, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        seal(layout, **values)

    assert next(iter(values)).removesuffix("s") in refused.value.message
    assert not layout.root.exists()


def test_what_was_cut_off_goes_on_with_the_same_root_only(layout: StateLayout) -> None:
    seal(layout)
    (layout.device / "identity.json").unlink()
    with pytest.raises(AlreadyExists, match="another root file"):
        seal(layout, root_file())
    key = DeviceStore(layout.device).make_key()

    assert seal(layout, serial="BOX-8").identity.receipt_key == key


def test_a_box_whose_trust_could_not_begin_stays_unsealed_and_takes_another_root(layout: StateLayout) -> None:
    layout.root.mkdir()
    layout.trust.write_text("in the way")
    with pytest.raises(Failed, match="trust"):
        seal(layout)
    layout.trust.unlink()
    assert not DeviceStore(layout.device).is_sealed
    other = root_file()

    assert seal(layout, other).is_new
    assert DeviceStore(layout.device).first_root() == other
