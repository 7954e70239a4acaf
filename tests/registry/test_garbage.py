"""Garbage collection beside updates, and on a box that lost its database."""

import fcntl
import os
from pathlib import Path

import pytest

from appliance.bundle.oci_layers import digest_of_bytes
from appliance.errors import AlreadyExists, Failed
from appliance.model.config import ModelConfig
from appliance.model.signature import ModelSignature
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.package import read_package
from appliance.state_layout import StateLayout
from tests.registry.bundles import Parts, install, item_of, prepare
from tests.registry.packages import DIGITS, ONE, SIGNATURE, TWO, add, assert_whole, usual_files, write_package


@pytest.fixture
def parts() -> Parts:
    return Parts()


def test_what_an_open_update_staged_is_kept(
    registry: ModelRegistry, digits: Path, tmp_path: Path, parts: Parts
) -> None:
    add(registry, digits)
    item = item_of(write_package(tmp_path / "new" / "digits", usual_files(2)), parts)
    prepared = prepare(registry, item, parts)
    wanted = {file.digest for file in item.files.values()} | {item.manifest, digest_of_bytes(item.to_bytes())}

    kept = registry.collect_garbage(keep=lambda: wanted)
    there = all(registry.blobs.path(digest).exists() for digest in wanted)
    left = registry.collect_garbage()

    assert (kept.blobs, there) == (0, True)
    assert left.blobs == 4  # two files of version 2, and two manifests
    assert not registry.blobs.path(prepared.digest).exists()


def test_what_an_update_wants_is_asked_while_nobody_can_publish(registry: ModelRegistry, digits: Path) -> None:
    """Else an update that begins in between would rely on content that goes."""
    add(registry, digits)
    digest = registry.blobs.put(b"staged")

    def keep() -> set[str]:
        with pytest.raises(BlockingIOError):
            _try_shared(registry)
        return {digest}

    registry.collect_garbage(keep=keep)

    assert registry.blobs.path(digest).exists()
    _try_shared(registry)


def test_what_never_arrived_whole_goes_unless_an_open_update_wants_it(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    partial = registry.layout.partial_blobs
    partial.mkdir()
    wanted, unwanted = digest_of_bytes(b"wanted"), digest_of_bytes(b"unwanted")
    for digest in (wanted, unwanted):
        (partial / digest.removeprefix("sha256:")).write_bytes(b"begun")

    registry.collect_garbage(keep=lambda: [wanted])

    assert [path.name for path in partial.iterdir()] == [wanted.removeprefix("sha256:")]


def _try_shared(registry: ModelRegistry) -> None:
    descriptor = os.open(registry.layout.blobs / "sha256", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def test_a_signed_manifest_is_kept_as_long_as_its_version(
    registry: ModelRegistry, digits: Path, parts: Parts
) -> None:
    item = item_of(digits, parts)
    record = install(registry, item, parts)
    signed = digest_of_bytes(item.to_bytes())

    registry.collect_garbage()
    there = registry.blobs.path(signed).exists()
    registry.restore(record.digest, "")
    registry.remove(DIGITS, ONE)
    gone = not registry.blobs.path(signed).exists()

    assert (there, gone) == (True, True)


def test_a_lost_database_does_not_make_everything_garbage(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    for file in registry.layout.root.glob("registry.db*"):
        file.unlink()

    with (
        ModelRegistry.open(registry.layout) as empty,
        pytest.raises(Failed, match=r"content of digits version 1 is here: .* lost.*appliance models rebuild"),
    ):
        empty.collect_garbage()
    assert len(list(registry.blobs.digests())) == 7
    assert_whole(registry.layout)


def test_a_package_that_fails_on_a_box_that_lost_its_database_takes_only_its_own_with_it(
    registry: ModelRegistry, digits: Path, tmp_path: Path
) -> None:
    add(registry, digits)
    before = set(registry.blobs.digests())
    for file in registry.layout.root.glob("registry.db*"):
        file.unlink()
    other = write_package(tmp_path / "other", {"1/model.onnx": b"other", "labels.txt": "zero\none\n"})
    with ModelRegistry.open(registry.layout) as empty:

        def overtaken(_: Path, __: ModelConfig) -> ModelSignature:
            add(empty, write_package(tmp_path / "quicker" / "other", {"1/model.onnx": b"quicker"}))
            return SIGNATURE

        with pytest.raises(AlreadyExists):
            empty.add(read_package(other), check=overtaken)

    assert all(registry.blobs.path(digest).exists() for digest in before)
    assert not registry.blobs.path(digest_of_bytes(b"other")).exists()


def test_when_all_versions_were_removed_all_of_it_goes(registry: ModelRegistry, digits: Path) -> None:
    write_package(digits, {"2/model.onnx": b"two"})
    add(registry, digits)
    registry.remove(DIGITS, ONE)
    registry.remove(DIGITS, TWO)

    registry.collect_garbage()

    assert list(registry.blobs.digests()) == []
    assert list(registry.layout.views.iterdir()) == []
    assert list(registry.layout.staging.iterdir()) == []


def test_an_update_cut_off_on_a_new_box_leaves_nothing_that_could_not_be_collected(
    layout: StateLayout, digits: Path, parts: Parts
) -> None:
    """Its content is whole: it is what `rebuild` makes a version of, which then can be removed."""
    with ModelRegistry.open(layout) as registry:
        prepare(registry, item_of(digits, parts), parts)
        with pytest.raises(Failed, match="appliance models rebuild"):
            registry.collect_garbage()
