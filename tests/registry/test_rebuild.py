"""A registry made anew from what lies among the blobs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.bundle.model_item import ModelItem
from appliance.bundle.oci_layers import digest_of_bytes
from appliance.errors import Failed, InvalidInput
from appliance.model.config import ModelConfig
from appliance.model.identity import ModelName
from appliance.model.signature import ModelSignature
from appliance.registry.database import Database
from appliance.registry.manifest import Manifest
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.rebuild import RebuildReport, Trust
from appliance.registry.registry_source import RegistrySource
from appliance.registry.version_trial import Check
from appliance.state_layout import StateLayout
from tests.registry.bundles import Parts, install, is_signed_by, item_of
from tests.registry.packages import DIGITS, ONE, TWO, accept, add, assert_whole, usual_files, write_package

NOBODY = Trust(lambda _target, _sha256: False, ())


@contextmanager
def lost(layout: StateLayout) -> Iterator[ModelRegistry]:
    """The same state directory after its database went."""
    for file in layout.root.glob("registry.db*"):
        file.unlink()
    with ModelRegistry.open(layout, clock=lambda: 99.0) as registry:
        yield registry


def rebuilt(registry: ModelRegistry, trust: Trust = NOBODY) -> RebuildReport:
    return registry.rebuild(lambda _: accept, trust)


def trusting(*items: ModelItem) -> Trust:
    signed = is_signed_by(*items)
    return Trust(lambda target, sha256: (target, sha256) in signed, ("someone-else", "acme"))


def test_every_version_comes_back_as_it_was(registry: ModelRegistry, digits: Path, tmp_path: Path) -> None:
    add(registry, write_package(digits, {"2/model.onnx": b"two"}))
    add(registry, write_package(tmp_path / "other", {"1/model.onnx": b"x"}))
    before = {model.name: {n: v.digest for n, v in model.versions.items()} for model in registry.models()}
    with lost(registry.layout) as anew:
        report = rebuilt(anew)
        after = {model.name: {n: v.digest for n, v in model.versions.items()} for model in anew.models()}
        row = anew.version(DIGITS, ONE)

        assert (after, report.problems, report.signed) == (before, (), ())
        assert len(report.versions) == 3
        assert (row.config_text, row.licence, row.added_at) == (usual_files()["model.toml"], "Apache-2.0", 99.0)
        assert row.provenance == {"name": "digits", "licence": "MIT"}
        assert anew.verify() == []
    assert_whole(registry.layout)


def test_which_version_served_is_not_guessed(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    registry.activate(DIGITS, ONE)
    with lost(registry.layout) as anew:
        rebuilt(anew)

        assert (anew.model(DIGITS).aliases, RegistrySource(anew).scan()[DIGITS].desired) == ({}, ())


def test_a_signature_comes_back_only_where_trusted_metadata_list_it(
    registry: ModelRegistry, digits: Path, tmp_path: Path
) -> None:
    parts = Parts()
    one = item_of(digits, parts)
    two = item_of(write_package(tmp_path / "new" / "digits", usual_files(2)), parts)
    install(registry, one, parts, 1)
    install(registry, two, parts, 2)
    with lost(registry.layout) as anew:
        report = rebuilt(anew, trusting(two))

        (signed,) = report.signed
        assert (signed.version, signed.target, signed.ticket_digest) == (TWO, "models/acme/digits/2.json", None)
        assert signed.item_digest == digest_of_bytes(two.to_bytes())
        assert (anew.is_signed(DIGITS, ONE), anew.is_signed(DIGITS, TWO)) == (False, True)
        assert set(anew.model(DIGITS).versions) == {ONE, TWO}


def test_each_version_is_tried_again(registry: ModelRegistry, digits: Path, tmp_path: Path) -> None:
    add(registry, digits)
    add(registry, write_package(tmp_path / "other", {"1/model.onnx": b"x"}))

    def check_of(name: ModelName) -> Check:
        def check(model_file: Path, config: ModelConfig) -> ModelSignature:
            if name == DIGITS:
                raise InvalidInput("does not load here")
            return accept(model_file, config)

        return check

    with lost(registry.layout) as anew:
        report = anew.rebuild(check_of, NOBODY)

        assert [(found.subject, found.problem) for found in report.problems] == [
            ("digits version 1", "does not load here")
        ]
        assert [model.name for model in anew.models()] == ["other"]


@pytest.mark.parametrize("damage", ["rotten", "missing"])
def test_a_version_whose_content_is_not_whole_does_not_come_back(
    damage: str, registry: ModelRegistry, digits: Path
) -> None:
    (added,) = add(registry, digits)
    path = registry.blobs.path(added.manifest.files["labels.txt"].digest)
    path.chmod(0o644)
    path.write_bytes(b"rotten") if damage == "rotten" else path.unlink()
    with lost(registry.layout) as anew:
        report = rebuilt(anew)

        assert [found.subject for found in report.problems] == ["digits version 1"]
        assert anew.models() == []


def test_a_removed_version_stays_removed(registry: ModelRegistry, digits: Path) -> None:
    add(registry, write_package(digits, {"2/model.onnx": b"two"}))
    registry.remove(DIGITS, ONE)
    with lost(registry.layout) as anew:
        rebuilt(anew)

        assert set(anew.model(DIGITS).versions) == {TWO}


def test_a_manifest_inside_a_package_is_only_a_file(registry: ModelRegistry, digits: Path, tmp_path: Path) -> None:
    """Else a publisher could slip a version of another model in, which nobody added."""
    (added,) = add(registry, digits)
    forged = Manifest(ModelName("victim"), ONE, "", "1/model.onnx", "unknown", added.manifest.files)
    registry.remove(DIGITS, ONE)
    add(registry, write_package(tmp_path / "trojan", {"1/model.onnx": b"x", "golden/m.json": forged.to_bytes()}))
    with lost(registry.layout) as anew:
        rebuilt(anew)

        assert [model.name for model in anew.models()] == ["trojan"]


def test_of_two_contents_under_one_name_the_signed_one_counts(
    registry: ModelRegistry, digits: Path, tmp_path: Path
) -> None:
    parts = Parts()
    item = item_of(digits, parts)
    other = write_package(tmp_path / "new" / "digits", {"1/model.onnx": b"other"})
    add(registry, other)
    with lost(registry.layout) as anew:
        install(anew, item, parts)
    with lost(registry.layout) as anew:
        undecided = rebuilt(anew)
        none = anew.models()
        decided = rebuilt(anew, trusting(item))

        assert [found.problem.partition(":")[0] for found in undecided.problems] == ["2 contents have this name"]
        assert none == []
        assert [version.digest for version in decided.versions] == [item.manifest]


def test_rebuilding_what_is_not_lost_changes_nothing(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    registry.activate(DIGITS, ONE)
    before = registry.models()

    report = rebuilt(registry)

    assert (report.versions, report.problems, registry.models()) == ((), (), before)


def test_documents_that_are_no_manifests_are_passed_over(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    for data in (b"{", b"{}", b"[]", json.dumps({"schema": 1}).encode(), b"{" * 100_000):
        registry.blobs.put(data)
    with lost(registry.layout) as anew:
        assert [version.name for version in rebuilt(anew).versions] == [DIGITS]


def test_a_damaged_database_is_kept_aside_with_its_log(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    layout = registry.layout
    layout.database.write_bytes(b"no database at all" * 1000)
    (layout.root / "registry.db-wal").write_bytes(b"log")

    aside = Database(layout.database).set_aside()
    with ModelRegistry.open(layout) as anew:
        rebuilt(anew)
        again = Database(layout.database).set_aside()

        assert aside == layout.root / "registry.db.damaged-1"
        assert aside.read_bytes().startswith(b"no database")
        assert again is None
        assert set(anew.model(DIGITS).versions) == {ONE}


def test_a_database_of_a_newer_appliance_is_not_damaged(registry: ModelRegistry) -> None:
    Database(registry.layout.database).prepare([*[()] * 7, ("CREATE TABLE from_the_future (x)",)])

    with pytest.raises(Failed, match="knows schemas up to"):
        Database(registry.layout.database).set_aside()
    assert registry.layout.database.exists()
