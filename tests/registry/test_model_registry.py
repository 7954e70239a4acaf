"""Adding, activating, removing: what the registry promises to the command line and the daemon."""

import threading
from pathlib import Path

import pytest

from appliance.errors import AlreadyExists, Busy, Failed, InvalidInput, NotFound
from appliance.model.config import ModelConfig
from appliance.model.signature import ModelSignature
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.package import read_package
from appliance.registry.records import AliasChange
from appliance.settings import StateLayout
from tests.registry.packages import (
    DIGITS,
    ONE,
    SIGNATURE,
    THREE,
    TWO,
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

    with pytest.raises(InvalidInput, match="labels.txt cannot be read: No such file"):
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

    assert f"found sha256:" in caught.value.message
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


def test_activating_points_the_serving_alias_and_keeps_history(registry: ModelRegistry, digits: Path) -> None:
    write_package(digits, {"2/model.onnx": b"two"})
    add(registry, digits)
    registry.activate(DIGITS, ONE)
    registry.activate(DIGITS, TWO)
    registry.activate(DIGITS, TWO)  # changes nothing
    registry.activate(DIGITS, ONE, alias="canary")
    registry.deactivate(DIGITS, alias="serving")

    model = registry.model(DIGITS)

    assert model.aliases == {"canary": 1}
    assert [(line.alias, line.previous, line.version) for line in model.history] == [
        ("serving", None, 1),
        ("serving", 1, 2),
        ("canary", None, 1),
        ("serving", 2, None),
    ]
    assert isinstance(model.history[0], AliasChange)
    assert [line.at for line in model.history] == sorted(line.at for line in model.history)


def test_deactivating_takes_all_aliases_away(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    registry.activate(DIGITS, ONE)
    registry.activate(DIGITS, ONE, alias="canary")
    registry.deactivate(DIGITS)
    registry.deactivate(DIGITS)

    assert registry.model(DIGITS).aliases == {}


def test_what_is_not_there_is_not_found(registry: ModelRegistry, digits: Path) -> None:
    with pytest.raises(NotFound, match="model 'digits' is not in the registry"):
        registry.model(DIGITS)
    with pytest.raises(NotFound, match="which has no version of it"):
        registry.activate(DIGITS, ONE)
    with pytest.raises(NotFound):
        registry.deactivate(DIGITS)
    with pytest.raises(NotFound):
        registry.verify(DIGITS)
    add(registry, digits)
    with pytest.raises(NotFound, match="'digits' version 3 is not in the registry, which has versions 1 of it"):
        registry.remove(DIGITS, THREE)
    with pytest.raises(NotFound, match="'digits' has no alias 'canary', it has: none"):
        registry.deactivate(DIGITS, alias="canary")


@pytest.mark.parametrize("alias", ["", "3", "../x", "a b", "x" * 65, "é"])
def test_an_impossible_alias_is_refused(registry: ModelRegistry, digits: Path, alias: str) -> None:
    add(registry, digits)

    with pytest.raises(InvalidInput, match="invalid alias"):
        registry.activate(DIGITS, ONE, alias=alias)


def test_a_version_that_an_alias_points_at_cannot_be_removed(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    registry.activate(DIGITS, ONE)

    with pytest.raises(Busy, match=r"alias serving points at it .*appliance models deactivate digits"):
        registry.remove(DIGITS, ONE)
    registry.deactivate(DIGITS)
    registry.remove(DIGITS, ONE)

    assert registry.models() == []


def test_garbage_is_what_no_version_refers_to(registry: ModelRegistry, digits: Path) -> None:
    write_package(digits, {"2/model.onnx": b"two"})
    one, two = add(registry, digits)
    registry.remove(DIGITS, ONE)

    report = registry.collect_garbage()

    gone = needed_blobs([one.manifest]) - needed_blobs([two.manifest])
    assert blob_names(registry.layout) == needed_blobs([two.manifest])
    assert (report.blobs, report.views) == (len(gone), 1)
    assert report.size_bytes == 700 + 900 + len(one.manifest.to_bytes())
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


def test_a_load_that_ends_the_process_is_remembered_until_it_is_activated_again(
    layout: StateLayout, digits: Path
) -> None:
    for _ in range(2):  # two lives of the process
        with ModelRegistry.open(layout) as registry:
            add(registry, digits)
            assert registry.refusal(DIGITS, ONE, 2) == ""
            registry.load_started(DIGITS, ONE)

    with ModelRegistry.open(layout) as registry:
        refusal = registry.refusal(DIGITS, ONE, 2)
        registry.activate(DIGITS, ONE)

        assert "loading version 1 of 'digits' ended the process 2 times" in refusal
        assert "appliance models activate digits 1" in refusal
        assert registry.refusal(DIGITS, ONE, 2) == ""


def test_a_load_that_fails_in_order_is_no_crash(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    for _ in range(5):
        registry.load_started(DIGITS, ONE)
        registry.load_finished(DIGITS, ONE, "no such operator")

    outcome = registry.model(DIGITS).versions[ONE].last_load

    assert registry.refusal(DIGITS, ONE, 1) == ""
    assert outcome is not None
    assert (outcome.problem, outcome.unfinished) == ("no such operator", 0)
    assert outcome.finished_at == outcome.started_at + 1


def test_a_load_that_is_going_on_has_no_end_yet(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    registry.load_started(DIGITS, ONE)

    outcome = registry.model(DIGITS).versions[ONE].last_load

    assert outcome is not None
    assert (outcome.finished_at, outcome.unfinished) == (None, 1)
    assert "ended the process once" in registry.refusal(DIGITS, ONE, 1)


def test_removing_and_adding_again_forgets_the_crashes(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    registry.load_started(DIGITS, ONE)
    registry.remove(DIGITS, ONE)
    add(registry, digits)

    assert registry.refusal(DIGITS, ONE, 1) == ""


def test_two_registries_live_in_one_process(tmp_path: Path, digits: Path) -> None:
    with (
        ModelRegistry.open(StateLayout(tmp_path / "a")) as first,
        ModelRegistry.open(StateLayout(tmp_path / "b")) as second,
    ):
        add(first, digits)

        assert (len(first.models()), len(second.models())) == (1, 0)


def test_a_damaged_database_stops_the_opening_and_verify_tells(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    for path in registry.layout.root.glob("registry.db*"):
        path.write_bytes(b"garbage" * 5000)

    assert [problem.subject for problem in registry.verify()] == ["database"]
    with pytest.raises(Failed, match="is damaged"), ModelRegistry.open(registry.layout):
        pass
