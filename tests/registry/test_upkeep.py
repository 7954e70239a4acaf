"""Verifying, collecting garbage, exporting: reading everything back."""

import threading
from pathlib import Path

import pytest

from appliance.errors import AlreadyExists, Failed, InvalidInput
from appliance.registry.model_registry import ModelRegistry
from appliance.state_layout import StateLayout
from tests.registry.packages import (
    DIGITS,
    ONE,
    add,
    assert_whole,
    files_below,
    needed_blobs,
    write_package,
)


def blob_names(layout: StateLayout) -> set[str]:
    return {path.name for path in (layout.blobs / "sha256").iterdir()}


def test_adding_again_heals_what_has_rotted(registry: ModelRegistry, digits: Path) -> None:
    (added,) = add(registry, digits)
    model = registry.views.path(added.digest) / "1" / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(b"rotten")  # the blob too: they are one file

    problems = registry.verify()
    add(registry, digits)

    assert [problem.subject for problem in problems] == ["digits version 1"]
    assert "1/model.onnx: content is sha256:" in problems[0].problem
    assert "appliance models add" in problems[0].hint
    assert registry.verify() == []
    assert_whole(registry.layout)


def test_a_missing_blob_is_a_problem_of_every_version_that_needs_it(registry: ModelRegistry, digits: Path) -> None:
    write_package(digits, {"2/model.onnx": b"two"})
    add(registry, digits)
    labels = registry.model(DIGITS).versions[ONE].manifest.files["labels.txt"].digest
    registry.blobs.delete(labels)

    found = [(problem.subject, problem.problem) for problem in registry.verify(DIGITS)]

    assert found == [(f"digits version {number}", f"labels.txt: there is no content {labels}") for number in (1, 2)]


def test_verify_reads_what_nothing_refers_to_as_well(registry: ModelRegistry, digits: Path) -> None:
    digest = registry.blobs.add_file(digits / "labels.txt")
    registry.blobs.path(digest).chmod(0o644)
    registry.blobs.path(digest).write_bytes(b"rotten")

    assert [problem.subject for problem in registry.verify()] == [f"blob {digest}"]


def test_verify_reads_each_content_once_and_tells_how_far_it_is(registry: ModelRegistry, digits: Path) -> None:
    write_package(digits, {"2/model.onnx": b"two"})
    add(registry, digits)
    told: list[tuple[str, int, int]] = []

    assert registry.verify(DIGITS, lambda *line: told.append(line)) == []
    assert told[0][0] == "reading digits version 1: 1/model.onnx"
    assert len(told) == 7 + 2  # files and manifests


def test_garbage_is_what_no_version_refers_to(registry: ModelRegistry, digits: Path) -> None:
    write_package(digits, {"2/model.onnx": b"two"})
    one, two = add(registry, digits)
    registry.remove(DIGITS, ONE)

    report = registry.collect_garbage()

    gone = needed_blobs([one.manifest]) - needed_blobs([two.manifest])
    assert blob_names(registry.layout) == needed_blobs([two.manifest])
    assert (report.blobs, report.views) == (len(gone) - 1, 1)  # the manifest went with the version
    assert report.size_bytes == 700 + 900
    assert list(registry.layout.views.iterdir()) == [registry.views.path(two.digest)]
    assert registry.verify() == []


def test_garbage_collection_of_a_clean_registry_removes_nothing(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    before = files_below(registry.layout.root / "blobs")

    report = registry.collect_garbage()

    assert (report.blobs, report.size_bytes, report.views) == (0, 0, 0)
    assert files_below(registry.layout.root / "blobs") == before


def test_garbage_collection_waits_for_who_is_publishing(registry: ModelRegistry, digits: Path) -> None:
    collector = threading.Thread(target=registry.collect_garbage)
    with registry.blobs.shared():
        digest = registry.blobs.add_file(digits / "labels.txt")
        collector.start()
        collector.join(timeout=0.05)

        assert collector.is_alive()
        assert registry.blobs.path(digest).exists()
    collector.join(timeout=10)
    assert not registry.blobs.path(digest).exists()


def test_an_exported_version_is_the_package_again(registry: ModelRegistry, digits: Path, tmp_path: Path) -> None:
    (added,) = add(registry, digits)
    (tmp_path / "out").mkdir()

    exported = registry.export(DIGITS, ONE, tmp_path / "out")

    assert exported == tmp_path / "out" / "digits"
    assert files_below(tmp_path / "out") == {f"digits/{path}": data for path, data in files_below(digits).items()}
    assert add(registry, exported)[0].digest == added.digest


def test_an_export_overwrites_nothing(registry: ModelRegistry, digits: Path, tmp_path: Path) -> None:
    add(registry, digits)

    with pytest.raises(AlreadyExists, match="digits is there already"):
        registry.export(DIGITS, ONE, digits.parent)
    with pytest.raises(InvalidInput, match="is not a directory"):
        registry.export(DIGITS, ONE, tmp_path / "nothing")


def test_an_export_of_damaged_content_leaves_nothing(registry: ModelRegistry, digits: Path, tmp_path: Path) -> None:
    (added,) = add(registry, digits)
    labels = registry.blobs.path(added.manifest.files["labels.txt"].digest)
    labels.chmod(0o644)
    labels.write_bytes(b"rotten")
    (tmp_path / "out").mkdir()

    with pytest.raises(Failed, match=r"labels.txt: content is .*appliance models verify"):
        registry.export(DIGITS, ONE, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
