"""One role that goes back while those above it go on, by stolen keys: refused, with what is older and by how much."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Targets

from appliance.bundle.refusal import UpdateRefused
from appliance.publish.cutting import renew
from appliance.updates.medium import Medium
from appliance.updates.trust_store import TrustStore
from appliance.updates.verifier import BundleVerifier
from tests.updates.boxes import Publisher, SealedBox
from tests.updates.forging import change, metadata_of, newest, signers_of, vouch_again


def version_of(stick: Any, role: str) -> int:
    return int(json.loads(newest(stick, role).read_bytes())["signed"]["version"])


def point_to_snapshot(publisher: Publisher, stick: Any, edit: Any) -> None:
    """Write a snapshot one higher, and a timestamp one higher that names it."""

    def raised(snapshot: Any) -> None:
        snapshot.version += 1
        edit(snapshot)

    snapshot = change(stick, "snapshot", raised, signers_of(publisher, "snapshot"))

    def name_it(timestamp: Any) -> None:
        timestamp.version += 1
        timestamp.snapshot_meta = MetaFile(int(snapshot.name.partition(".")[0]))

    change(stick, "timestamp", name_it, signers_of(publisher, "timestamp"))


def refusal_of(box: SealedBox, stick: Any) -> UpdateRefused:
    with Medium.open(stick) as medium, pytest.raises(UpdateRefused) as refused:
        BundleVerifier(TrustStore(box.layout.trust), medium).verify(datetime.now(UTC))
    return refused.value


@pytest.mark.parametrize("role", ["targets", "models-factory"])
def test_a_snapshot_that_takes_a_role_back(publisher: Publisher, box: SealedBox, role: str) -> None:
    with publisher.opened() as station:
        renew(station, "targets")
    publisher.stick(1)
    stick = publisher.stick(2)
    assert box.apply(stick).code == 0
    have = version_of(stick, role)
    assert have > 1

    def take_back(snapshot: Any) -> None:
        snapshot.meta[f"{role}.json"] = MetaFile(have - 1)

    point_to_snapshot(publisher, stick, take_back)

    refused = refusal_of(box, stick)
    assert refused.reason.name == "ROLLBACK"
    assert refused.facts == {"role": role, "have": have, "offered": have - 1}


def test_a_snapshot_that_leaves_a_role_out(publisher: Publisher, box: SealedBox) -> None:
    stick = publisher.stick(1)
    assert box.apply(stick).code == 0
    have = version_of(stick, "models-factory")
    point_to_snapshot(publisher, stick, lambda snapshot: snapshot.meta.pop("models-factory.json"))

    refused = refusal_of(box, stick)
    assert (refused.reason.name, refused.facts["have"]) == ("ROLLBACK", have)


def test_a_timestamp_that_names_an_older_snapshot(publisher: Publisher, box: SealedBox) -> None:
    publisher.stick(1)
    stick = publisher.stick(2)
    assert box.apply(stick).code == 0
    have = version_of(stick, "snapshot")

    def name_older(timestamp: Any) -> None:
        timestamp.version += 1
        timestamp.snapshot_meta = MetaFile(have - 1)

    change(stick, "timestamp", name_older, signers_of(publisher, "timestamp"))

    assert refusal_of(box, stick).facts == {"role": "snapshot", "have": have, "offered": have - 1}


def test_an_older_timestamp(publisher: Publisher, box: SealedBox) -> None:
    older, newer = publisher.stick(1), publisher.stick(2)
    assert box.apply(newer).code == 0

    facts = {"role": "timestamp", "have": version_of(newer, "timestamp"), "offered": version_of(older, "timestamp")}
    assert refusal_of(box, older).facts == facts


def test_a_name_that_a_publisher_gave_is_shown_without_orders_to_the_terminal(
    publisher: Publisher, box: SealedBox
) -> None:
    stick = publisher.stick(1)
    name, keys = "\x1b[2J" + "x" * 100, signers_of(publisher, "models-factory")

    def delegate(targets: Any) -> None:
        key = keys[0].public_key
        role = DelegatedRole(name, [key.keyid], 1, False, paths=["models/factory/keeps/*"])
        targets.targets.clear()
        targets.delegations = Delegations({key.keyid: key}, {name: role})

    change(stick, "models-factory", delegate, keys)
    vouch_again(publisher, stick, "models-factory")
    unsigned = Metadata(Targets(version=1, expires=datetime.now(UTC) + timedelta(days=9))).to_bytes()
    (metadata_of(stick) / f"1.{quote(name, '')}.json").write_bytes(unsigned)
    point_to_snapshot(publisher, stick, lambda snapshot: snapshot.meta.update({f"{name}.json": MetaFile(1)}))

    with (
        Medium.open(stick) as medium,
        BundleVerifier(TrustStore(box.layout.trust), medium).verify(datetime.now(UTC)) as bundle,
        pytest.raises(UpdateRefused) as refused,
    ):
        bundle.read_target("models/factory/keeps/1.json", "0" * 64)
    assert refused.value.reason.name == "BAD_SIGNATURE"
    assert refused.value.message.isprintable()
    assert str(refused.value.facts["role"]).isprintable()
