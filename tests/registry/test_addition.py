"""Adding a package: what is stored, what is refused, and what a refusal leaves behind (nothing)."""

from pathlib import Path

import pytest

from appliance.errors import AlreadyExists, InvalidInput
from appliance.model.config import ModelConfig
from appliance.model.signature import ModelSignature
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.package import read_package
from appliance.state_layout import StateLayout
from tests.registry.packages import (
    DIGITS,
    ONE,
    SIGNATURE,
    accept,
    add,
    assert_whole,
    files_below,
    needed_blobs,
    usual_files,
    write_package,
)


def blob_names(layout: StateLayout) -> set[str]:
    return {path.name for path in (layout.blobs / "sha256").iterdir()}


def assert_nothing_is_left(layout: StateLayout) -> None:
    assert blob_names(layout) == set()
    assert list(layout.views.iterdir()) == []
    assert list(layout.staging.iterdir()) == []


def test_an_added_version_says_everything_about_itself(registry: ModelRegistry, digits: Path) -> None:
    (added,) = add(registry, digits)
    found = registry.model(DIGITS).versions[ONE]

    assert found == added
    assert not added.already_there
    assert (found.licence, found.provenance) == ("Apache-2.0", {"name": "digits", "licence": "MIT"})
    assert found.signature == SIGNATURE
    assert found.size_bytes == sum(map(len, usual_files().values()))
    assert set(found.manifest.files) == set(usual_files())
    assert (found.added_at, found.last_load) == (1000.0, None)
    assert [model.name for model in registry.models()] == ["digits"]


def test_the_view_of_a_version_is_its_package_again(registry: ModelRegistry, digits: Path) -> None:
    (added,) = add(registry, digits)

    view = registry.views.path(added.digest)

    assert files_below(view) == files_below(digits)
    assert (view / "1" / "model.onnx").stat().st_nlink == 2  # the blob itself
    assert_whole(registry.layout)


def test_the_trial_sees_the_copy_with_all_its_files_and_its_configuration(
    registry: ModelRegistry, digits: Path
) -> None:
    seen: list[tuple[Path, dict[str, bytes], str]] = []

    def look(model_file: Path, config: ModelConfig) -> ModelSignature:
        seen.append((model_file, files_below(model_file.parents[1]), config.licence))
        return SIGNATURE

    registry.add(read_package(digits), check=look)

    (model_file, files, licence), *_ = seen
    assert model_file.is_relative_to(registry.layout.staging)
    assert (files, licence) == (files_below(digits), "Apache-2.0")


def test_what_is_stored_is_what_was_tried_however_the_medium_changes(registry: ModelRegistry, digits: Path) -> None:
    package = read_package(digits)
    write_package(digits, {"model.toml": 'licence = "GPL-3.0"'})

    def look(_: Path, config: ModelConfig) -> ModelSignature:
        assert config.licence == "GPL-3.0"
        write_package(digits, {"model.toml": 'licence = "none"', "1/model.onnx": b"swapped"})
        return SIGNATURE

    (added,) = registry.add(package, check=look)

    assert added.licence == "GPL-3.0"
    assert files_below(registry.views.path(added.digest))["1/model.onnx"] == usual_files()["1/model.onnx"]


def test_a_package_that_vanishes_while_it_is_copied_is_refused(registry: ModelRegistry, digits: Path) -> None:
    package = read_package(digits)
    (digits / "labels.txt").unlink()

    with pytest.raises(InvalidInput, match=r"labels\.txt cannot be read: No such file"):
        registry.add(package, check=accept)
    assert_nothing_is_left(registry.layout)


def test_a_model_that_fails_its_trial_leaves_nothing(registry: ModelRegistry, digits: Path) -> None:
    def refuse(_: Path, __: ModelConfig) -> ModelSignature:
        raise InvalidInput("not an ONNX model")

    with pytest.raises(InvalidInput, match="not an ONNX model"):
        registry.add(read_package(digits), check=refuse)

    assert registry.models() == []
    assert_nothing_is_left(registry.layout)


def test_all_versions_of_a_package_come_in_or_none(registry: ModelRegistry, digits: Path) -> None:
    write_package(digits, {"2/model.onnx": b"bad"})

    def refuse_two(model_file: Path, _: ModelConfig) -> ModelSignature:
        if model_file.read_bytes() == b"bad":
            raise InvalidInput("bad")
        return SIGNATURE

    with pytest.raises(InvalidInput):
        registry.add(read_package(digits), check=refuse_two)
    assert registry.models() == []
    assert [version.version for version in add(registry, digits)] == [1, 2]


def test_adding_the_same_again_is_no_error_and_no_second_trial(registry: ModelRegistry, digits: Path) -> None:
    (first,) = add(registry, digits)

    def never(_: Path, __: ModelConfig) -> ModelSignature:
        raise AssertionError

    (again,) = registry.add(read_package(digits), check=never)

    assert again.already_there
    assert again.added_at == first.added_at


def test_a_version_never_changes(registry: ModelRegistry, digits: Path) -> None:
    (first,) = add(registry, digits)
    before = blob_names(registry.layout)
    write_package(digits, {"labels.txt": "other\n"})

    with pytest.raises(AlreadyExists) as caught:
        add(registry, digits)

    assert "found sha256:" in caught.value.message
    assert f"expected {first.digest}" in caught.value.message
    assert "give the new content a new version number, such as 2" in caught.value.hint
    assert registry.model(DIGITS).versions == {ONE: first}
    assert blob_names(registry.layout) == before


def test_versions_share_the_content_that_they_have_in_common(registry: ModelRegistry, digits: Path) -> None:
    write_package(digits, {"2/model.onnx": usual_files()["1/model.onnx"]})

    versions = add(registry, digits)

    assert blob_names(registry.layout) == needed_blobs([version.manifest for version in versions])
    assert len(blob_names(registry.layout)) == 6 + 2  # 7 files, of which 2 are equal, and 2 manifests


def test_a_package_without_any_licence_is_recorded_as_unknown(registry: ModelRegistry, tmp_path: Path) -> None:
    (added,) = add(registry, write_package(tmp_path / "bare", {"1/model.onnx": b"x", "empty": b""}))

    assert (added.licence, added.provenance, added.config_text) == ("unknown", None, "")


def test_progress_tells_what_is_copied_and_what_is_tried(registry: ModelRegistry, digits: Path) -> None:
    told: list[tuple[str, int, int]] = []
    registry.add(read_package(digits), check=accept, progress=lambda *line: told.append(line))

    total = sum(map(len, usual_files().values()))
    assert told[0] == ("copying 1/model.onnx", 700, total)
    assert ("copying provenance.json", total, total) in told
    assert told[-1] == ("trying version 1", 1, 1)
