"""Scrubs: what rotted is taken out of service, is known, and comes back whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.bundle.model_item import ModelItem
from appliance.errors import Failed
from appliance.model.identity import Digest
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.part_assembly import assemble
from appliance.registry.registry_source import RegistrySource
from tests.registry.bundles import Parts, install, item_of
from tests.registry.packages import DIGITS, ONE, add, assert_whole, write_package


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def item(digits: Path, parts: Parts) -> ModelItem:
    return item_of(digits, parts)


@pytest.fixture
def installed(registry: ModelRegistry, item: ModelItem, parts: Parts) -> Iterator[ModelRegistry]:
    install(registry, item, parts)
    return registry


def rot(registry: ModelRegistry, digest: Digest, content: bytes = b"rotten") -> None:
    path = registry.blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(content)


def labels(item: ModelItem) -> Digest:
    return item.files["labels.txt"].digest


def test_a_scrub_of_what_is_sound_finds_nothing_and_is_remembered(installed: ModelRegistry) -> None:
    before = installed.scrub_report()
    report = installed.scrub()

    assert (before.run, report.damaged) == (None, ())
    assert report.run is not None
    assert report.run.files == len(list(installed.blobs.digests()))
    assert report.run.size_bytes == sum(path.stat().st_size for path in (installed.layout.blobs / "sha256").iterdir())
    assert (report.run.findings, report.run.started_at < report.run.finished_at) == (0, True)
    assert installed.scrub_report() == report
    assert_whole(installed.layout)


def test_what_rotted_leaves_the_blobs_and_the_views_and_is_kept(installed: ModelRegistry, item: ModelItem) -> None:
    rot(installed, labels(item))
    view = installed.views.path(installed.version(DIGITS, ONE).digest)

    (damaged,) = installed.scrub().damaged

    assert damaged.places == ("digits version 1: labels.txt",)
    assert damaged.finding.quarantined
    assert "expected sha256:" in damaged.finding.problem
    assert installed.quarantined() == [labels(item)]
    assert installed.quarantine.path(labels(item)).read_bytes() == b"rotten"
    assert not installed.blobs.path(labels(item)).exists()
    assert not view.exists()
    assert_whole(installed.layout)


def test_what_is_in_quarantine_is_never_served(installed: ModelRegistry, item: ModelItem) -> None:
    source = RegistrySource(installed)
    version = source.scan()[DIGITS].versions[ONE]
    rot(installed, labels(item))
    installed.scrub()

    with pytest.raises(Failed, match=r"labels.txt was damaged on this box's disk .*appliance update apply MEDIUM"):
        source.verify(version)
    assert source.scan()[DIGITS].desired == (ONE,)


def test_a_runtime_that_has_a_file_open_keeps_it(installed: ModelRegistry, item: ModelItem) -> None:
    view = installed.views.path(installed.version(DIGITS, ONE).digest)
    with (view / "1" / "model.onnx").open("rb") as opened:
        rot(installed, labels(item))
        installed.scrub()

        assert opened.read() == b"model 1" * 100


def test_what_is_missing_is_found_as_well(installed: ModelRegistry, item: ModelItem) -> None:
    installed.blobs.delete(labels(item))

    (damaged,) = installed.scrub().damaged

    assert (damaged.finding.digest, damaged.finding.quarantined) == (labels(item), False)
    assert "there is no content" in damaged.finding.problem


def test_a_second_scrub_finds_nothing_new_and_forgets_nothing(installed: ModelRegistry, item: ModelItem) -> None:
    rot(installed, labels(item))
    first = installed.scrub()
    second = installed.scrub()

    assert second.damaged == first.damaged
    assert first.run is not None
    assert second.run is not None
    assert (first.run.findings, second.run.findings) == (1, 0)


def test_content_that_a_bundle_brings_again_serves_again(
    installed: ModelRegistry, item: ModelItem, parts: Parts
) -> None:
    rot(installed, labels(item))
    installed.scrub()
    file = item.files["labels.txt"]
    assemble(file.digest, file.parts, parts.open, installed.layout.partial_blobs, installed.blobs, lambda _: None)

    installed.healed([file.digest])

    assert installed.quarantined() == []
    source = RegistrySource(installed)
    source.verify(source.scan()[DIGITS].versions[ONE])
    assert_whole(installed.layout)


def test_a_scrub_sees_that_content_came_back_by_whatever_way(installed: ModelRegistry, item: ModelItem) -> None:
    rot(installed, labels(item))
    installed.scrub()
    installed.blobs.put(b"zero\none\n")

    assert installed.scrub().damaged == ()


def test_content_that_comes_back_while_it_is_being_read_is_not_taken_away(
    installed: ModelRegistry, item: ModelItem
) -> None:
    rot(installed, labels(item))

    def healed_meanwhile(what: str, _: int, __: int) -> None:
        if what.endswith("labels.txt"):
            installed.blobs.put(b"zero\none\n")

    report = installed.scrub(healed_meanwhile)

    assert report.damaged == ()
    installed.blobs.verify(labels(item))
    assert not installed.quarantine.path(labels(item)).exists()


def test_adding_the_package_again_heals(registry: ModelRegistry, digits: Path, item: ModelItem) -> None:
    add(registry, digits)
    rot(registry, labels(item))
    registry.scrub()

    add(registry, digits)

    assert registry.quarantined() == []
    assert registry.verify() == []


def test_our_own_manifest_needs_nobody_to_bring_it(installed: ModelRegistry) -> None:
    manifest = installed.version(DIGITS, ONE).digest
    rot(installed, manifest, b"{}")

    report = installed.scrub()

    assert report.damaged == ()
    installed.blobs.verify(manifest)
    assert installed.verify() == []


def test_a_signed_manifest_that_rotted_comes_back_with_the_bundle(installed: ModelRegistry, item: ModelItem) -> None:
    (signed,) = set(installed.blobs.digests()) - installed.version(DIGITS, ONE).manifest.content
    rot(installed, signed, b"{}")
    (damaged,) = installed.scrub().damaged
    installed.keep_documents(item)

    assert damaged.places == ("digits version 1: signed manifest",)
    assert installed.quarantined() == []
    installed.blobs.verify(signed)


def test_rotten_garbage_is_moved_away_and_goes_with_the_garbage(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    digest = registry.blobs.add_file(write_package(digits.parent / "x", {"more": "unneeded"}) / "more")
    rot(registry, digest)

    report = registry.scrub()
    kept = registry.quarantine.path(digest).exists()
    registry.collect_garbage()

    assert (report.damaged, kept) == ((), True)
    assert list(registry.layout.quarantine.iterdir()) == []


def test_garbage_collection_keeps_what_is_to_be_looked_at_until_it_came_back(
    installed: ModelRegistry, item: ModelItem
) -> None:
    rot(installed, labels(item))
    installed.scrub()
    installed.collect_garbage()
    kept = installed.quarantine.path(labels(item)).exists()
    installed.blobs.put(b"zero\none\n")
    installed.healed([labels(item)])
    installed.collect_garbage()

    assert (kept, installed.quarantine.path(labels(item)).exists()) == (True, False)


def test_what_nobody_needs_any_more_is_no_longer_missed(installed: ModelRegistry, item: ModelItem) -> None:
    rot(installed, labels(item))
    installed.scrub()
    installed.restore(installed.tickets()[0].digest, "")
    installed.remove(DIGITS, ONE)

    assert installed.scrub().damaged == ()


def test_a_scrub_tells_what_it_reads_and_how_far_it_is(installed: ModelRegistry) -> None:
    told: list[tuple[str, int, int]] = []

    installed.scrub(lambda *line: told.append(line))

    assert "reading digits version 1: labels.txt" in {what for what, _, _ in told}
    assert told[-1][1] == told[-1][2] > 0
