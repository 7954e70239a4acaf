"""Serving a directory of packages without the registry."""

import os
from pathlib import Path

import pytest

from appliance.errors import InvalidInput
from appliance.registry.directory_source import DirectorySource
from appliance.registry.source import ModelSource
from tests.registry.packages import DIGITS, ONE, TWO, usual_files, write_package


def test_the_newest_version_is_desired_unless_the_policy_says_otherwise(tmp_path: Path) -> None:
    write_package(tmp_path / "digits", {**usual_files(1), **usual_files(2)})
    write_package(tmp_path / "all", {"model.toml": "[version_policy.all]", "1/model.onnx": "x", "2/model.onnx": "x"})
    source: ModelSource = DirectorySource(tmp_path)

    found = source.scan()

    assert {name: model.desired for name, model in found.items()} == {"digits": (2,), "all": (2, 1)}
    assert set(found[DIGITS].versions) == {1, 2}
    assert (source.mode, source.description) == ("directory", f"directory {tmp_path}")


def test_a_version_says_where_its_files_are(digits: Path) -> None:
    version = DirectorySource(digits.parent).scan()[DIGITS].versions[ONE]

    assert version.directory == digits
    assert version.model_file == digits / "1" / "model.onnx"
    assert (version.digest, version.licence) == (None, "Apache-2.0")


def test_the_stamp_differs_exactly_when_a_file_of_the_version_differs(digits: Path) -> None:
    source = DirectorySource(digits.parent)

    def stamp() -> str:
        return source.scan()[DIGITS].versions[ONE].stamp

    before = stamp()
    write_package(digits, {"2/model.onnx": b"another version"})
    same = stamp()
    os.utime(digits / "labels.txt", (1, 1))

    assert same == before
    assert stamp() != before


def test_a_broken_package_is_a_model_with_a_problem(tmp_path: Path) -> None:
    write_package(tmp_path / "digits")
    write_package(tmp_path / "broken", {"model.toml": "?"})
    write_package(tmp_path / "bad name")

    found = {str(name): model for name, model in DirectorySource(tmp_path).scan().items()}

    assert found["digits"].problem == ""
    assert "broken/model.toml: not valid TOML" in found["broken"].problem
    assert "invalid model name 'bad name'" in found["bad name"].problem
    assert not found["broken"].versions


def test_a_policy_that_matches_no_version_is_a_problem(tmp_path: Path) -> None:
    write_package(
        tmp_path / "digits", {"model.toml": "[version_policy.specific]\nversions = [7]", "1/model.onnx": "x"}
    )

    model = DirectorySource(tmp_path).scan()[DIGITS]

    assert "version_policy asks for no version that is there (found: 1)" in model.problem


def test_nothing_is_verified_and_nothing_refused(digits: Path) -> None:
    source = DirectorySource(digits.parent)
    version = source.scan()[DIGITS].versions[ONE]

    source.verify(version)
    for _ in range(5):
        source.load_started(version)
    source.load_finished(version, "")

    assert source.refusal(version, 2) == ""


def test_a_directory_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a directory"):
        DirectorySource(tmp_path / "nothing")


def test_versions_come_and_go_between_scans(digits: Path) -> None:
    source = DirectorySource(digits.parent)
    before = source.scan()[DIGITS].desired
    write_package(digits, {"2/model.onnx": b"newer"})

    assert (before, source.scan()[DIGITS].desired) == ((ONE,), (TWO,))
