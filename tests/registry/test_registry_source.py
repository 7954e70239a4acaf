"""The registry as serving sees it."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import Failed, NotFound
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.registry_source import RegistrySource
from appliance.registry.source import ModelSource
from tests.registry.packages import DIGITS, ONE, TWO, add, assert_whole, files_below, write_package


@pytest.fixture
def source(registry: ModelRegistry, digits: Path) -> ModelSource:
    write_package(digits, {"2/model.onnx": b"two"})
    add(registry, digits)
    return RegistrySource(registry)


def test_a_version_without_an_alias_is_known_but_not_desired(source: ModelSource, registry: ModelRegistry) -> None:
    model = source.scan()[DIGITS]

    assert (set(model.versions), model.desired, model.default, model.problem) == ({1, 2}, (), None, "")
    assert (source.mode, source.description) == ("registry", f"registry {registry.layout.root}")


def test_every_version_that_an_alias_points_at_is_desired(source: ModelSource, registry: ModelRegistry) -> None:
    registry.activate(DIGITS, ONE)
    registry.activate(DIGITS, TWO, alias="canary")

    model = source.scan()[DIGITS]

    assert (model.desired, model.default) == ((2, 1), 1)
    assert model.aliases == {"canary": 2, "serving": 1}


def test_without_the_serving_alias_the_newest_desired_is_the_default(
    source: ModelSource, registry: ModelRegistry
) -> None:
    registry.activate(DIGITS, ONE, alias="canary")
    registry.activate(DIGITS, TWO, alias="candidate")

    assert source.scan()[DIGITS].default == 2


def test_a_version_is_served_from_its_view(source: ModelSource, registry: ModelRegistry) -> None:
    version = source.scan()[DIGITS].versions[ONE]

    assert version.directory == registry.views.path(registry.version(DIGITS, ONE).digest)
    assert version.model_file == version.directory / "1" / "model.onnx"
    assert version.model_file.is_file()
    assert version.stamp == version.digest == registry.version(DIGITS, ONE).digest
    assert (version.licence, version.config.output[0].label_filename) == ("Apache-2.0", "labels.txt")


def test_an_unchanged_version_is_the_same_value_at_every_scan(source: ModelSource) -> None:
    assert source.scan()[DIGITS].versions[ONE] is source.scan()[DIGITS].versions[ONE]


def test_what_others_change_is_seen_at_the_next_scan(source: ModelSource, registry: ModelRegistry) -> None:
    before = source.scan()[DIGITS].desired
    with ModelRegistry.open(registry.layout) as other:
        other.activate(DIGITS, TWO)
        other.remove(DIGITS, ONE)

    model = source.scan()[DIGITS]

    assert (before, model.desired, set(model.versions)) == ((), (2,), {2})


def test_a_sound_version_passes_verification(source: ModelSource) -> None:
    source.verify(source.scan()[DIGITS].versions[ONE])


def test_a_damaged_file_is_refused_before_it_is_loaded(source: ModelSource) -> None:
    version = source.scan()[DIGITS].versions[ONE]
    (version.directory / "labels.txt").chmod(0o644)
    (version.directory / "labels.txt").write_bytes(b"rotten")

    with pytest.raises(Failed, match=r"digits version 1: labels.txt is damaged: content is sha256:.*models add"):
        source.verify(version)


def test_a_view_that_is_missing_or_tampered_with_is_made_again(
    source: ModelSource, registry: ModelRegistry, digits: Path
) -> None:
    version = source.scan()[DIGITS].versions[ONE]
    shutil.rmtree(version.directory)
    source.verify(version)
    (version.directory / "1" / "model.onnx").unlink()
    (version.directory / "1" / "model.onnx").write_bytes(b"another file of that name")
    source.verify(version)

    assert files_below(version.directory)["1/model.onnx"] == files_below(digits)["1/model.onnx"]
    assert_whole(registry.layout)
    assert list(registry.layout.staging.iterdir()) == []


def test_content_that_is_missing_is_named(source: ModelSource, registry: ModelRegistry) -> None:
    version = source.scan()[DIGITS].versions[ONE]
    registry.blobs.delete(registry.version(DIGITS, ONE).manifest.files["labels.txt"].digest)

    with pytest.raises(Failed, match=r"the content of labels.txt is missing .*appliance models add"):
        source.verify(version)


def test_a_version_that_was_removed_or_replaced_since_the_scan_is_not_loaded(
    source: ModelSource, registry: ModelRegistry, digits: Path
) -> None:
    version = source.scan()[DIGITS].versions[ONE]
    registry.remove(DIGITS, ONE)
    with pytest.raises(NotFound):
        source.verify(version)
    write_package(digits, {"1/model.onnx": b"other"})
    registry.remove(DIGITS, TWO)
    add(registry, digits)

    with pytest.raises(Failed, match="was removed and added anew"):
        source.verify(version)


def test_the_guard_counts_across_lives_and_forgets_after_a_success(
    source: ModelSource, registry: ModelRegistry
) -> None:
    version = source.scan()[DIGITS].versions[ONE]
    source.load_started(version)
    source.load_started(version)
    refused = RegistrySource(registry).refusal(version, 2)
    source.load_finished(version, "")

    assert "ended the process 2 times" in refused
    assert source.refusal(version, 2) == ""


def test_a_configuration_that_an_older_build_does_not_understand_is_a_problem_of_that_model_only(
    source: ModelSource, registry: ModelRegistry, tmp_path: Path
) -> None:
    add(registry, write_package(tmp_path / "other", {"1/model.onnx": b"x"}))
    with closing(sqlite3.connect(registry.layout.database)) as connection, connection:
        connection.execute("UPDATE versions SET config_text = 'from_the_future = 1' WHERE name = 'digits'")
        connection.execute("UPDATE versions SET config_text = '' WHERE name = 'digits' AND version = 1")

    registry.activate(DIGITS, ONE)
    with_old = source.scan()[DIGITS]
    registry.activate(DIGITS, TWO)
    found = {str(name): model for name, model in source.scan().items()}

    assert (with_old.problem, set(with_old.versions), with_old.desired) == ("", {1}, (1,))
    assert "digits version 2/model.toml: from_the_future" in found["digits"].problem
    assert (found["digits"].versions, found["digits"].desired) == ({}, ())
    assert found["other"].problem == ""


def test_an_empty_registry_in_the_place_of_a_lost_one_is_told(
    registry: ModelRegistry, digits: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(registry, digits)
    for file in registry.layout.root.glob("registry.db*"):
        file.unlink()
    with ModelRegistry.open(registry.layout) as empty:
        assert RegistrySource(empty).scan() == {}

    assert "the content of digits version 1 is here: registry.db was lost" in caplog.text
    assert "appliance models rebuild" in caplog.text
