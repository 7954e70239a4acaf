"""Versions that a signed bundle brings: tried as they will be served, visible with their ticket, taken back whole."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.bundle.model_item import ModelItem
from appliance.bundle.oci_layers import ItemFile, digest_of_bytes
from appliance.errors import AlreadyExists, Busy, InvalidInput, NotFound
from appliance.model.config import ModelConfig
from appliance.model.identity import ModelName
from appliance.model.signature import ModelSignature
from appliance.registry.manifest import Manifest, ManifestFile
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.ticket_records import TicketState
from tests.registry.bundles import Parts, install, item_of, prepare, signed, stage, ticket
from tests.registry.packages import (
    DIGITS,
    ONE,
    TWO,
    accept,
    add,
    assert_whole,
    usual_files,
    write_package,
)


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def item(digits: Path, parts: Parts) -> ModelItem:
    return item_of(digits, parts)


@pytest.fixture
def second(tmp_path: Path, parts: Parts) -> ModelItem:
    return item_of(write_package(tmp_path / "new" / "digits", usual_files(2)), parts)


def test_what_arrives_is_the_version_that_adding_would_give(
    registry: ModelRegistry, item: ModelItem, parts: Parts, digits: Path
) -> None:
    record = install(registry, item, parts)
    arrived = registry.version(DIGITS, ONE)

    (added,) = add(registry, digits)

    assert replace(added, already_there=False) == arrived
    assert registry.desired([DIGITS]) == {DIGITS: ONE}
    assert registry.ticket(record.digest) == record
    assert registry.is_signed(DIGITS, ONE)
    assert_whole(registry.layout)


def test_nothing_is_visible_before_it_is_installed(registry: ModelRegistry, item: ModelItem, parts: Parts) -> None:
    prepare(registry, item, parts)

    assert (registry.models(), registry.tickets()) == ([], [])
    assert list(registry.layout.staging.iterdir()) == []


def test_what_is_tried_are_the_bytes_that_arrived(registry: ModelRegistry, item: ModelItem, parts: Parts) -> None:
    seen: list[bytes] = []

    def check(model_file: Path, config: ModelConfig) -> ModelSignature:
        seen.append(model_file.read_bytes())
        assert config.output[0].label_filename == "labels.txt"
        return accept(model_file, config)

    stage(registry, item, parts)
    registry.prepare_staged(item, check)

    assert [digest_of_bytes(data) for data in seen] == [item.files["1/model.onnx"].digest]


def test_a_version_that_is_here_is_not_tried_again(registry: ModelRegistry, item: ModelItem, parts: Parts) -> None:
    install(registry, item, parts)

    def check(_: Path, __: ModelConfig) -> ModelSignature:
        raise AssertionError

    assert registry.prepare_staged(item, check) == registry.version(DIGITS, ONE)


def test_other_content_under_a_known_version_is_refused(
    registry: ModelRegistry, item: ModelItem, parts: Parts, tmp_path: Path
) -> None:
    add(registry, write_package(tmp_path / "other" / "digits", {"1/model.onnx": b"other"}))

    with pytest.raises(AlreadyExists, match="is in the registry with other content"):
        prepare(registry, item, parts)


def without_labels(item: ModelItem) -> ModelItem:
    return replace(item, files={path: file for path, file in item.files.items() if path != "labels.txt"})


def another_model_file(item: ModelItem) -> ModelItem:
    return replace(item, model_file="1/model.onnx.data")


def another_licence(item: ModelItem) -> ModelItem:
    return replace(item, licence="MIT")


def unsafe_path(item: ModelItem) -> ModelItem:
    return replace(item, files=item.files | {"../outside": item.files["labels.txt"]})


@pytest.mark.parametrize("change", [without_labels, another_model_file, another_licence, unsafe_path])
def test_a_manifest_that_does_not_fit_its_files_is_refused(
    change: Callable[[ModelItem], ModelItem], registry: ModelRegistry, item: ModelItem, parts: Parts
) -> None:
    stage(registry, item, parts)

    with pytest.raises(InvalidInput):
        registry.prepare_staged(change(item), accept)
    assert (registry.models(), list(registry.layout.staging.iterdir())) == ([], [])


def test_a_manifest_that_lies_about_its_package_is_found_by_reading_it(
    registry: ModelRegistry, item: ModelItem, parts: Parts
) -> None:
    stage(registry, item, parts)
    lying = replace(item, licence="MIT")
    files = {path: ManifestFile(file.digest, file.size_bytes) for path, file in item.files.items()}
    manifest = Manifest(DIGITS, ONE, item.config_file, item.model_file, "MIT", files)

    with pytest.raises(InvalidInput, match="are not what its manifest says"):
        registry.prepare_staged(replace(lying, manifest=manifest.digest()), accept)


def test_versions_ticket_and_what_is_desired_appear_together_or_not_at_all(
    registry: ModelRegistry, item: ModelItem, parts: Parts
) -> None:
    record = ticket(1, {ModelName("nonesuch"): ONE}, {})
    prepared = prepare(registry, item, parts)

    with pytest.raises(NotFound):
        registry.install([prepared], [signed(item, record)], record.desired, record)

    assert (registry.models(), registry.tickets(), registry.is_signed(DIGITS, ONE)) == ([], [], False)


def test_a_ticket_that_came_up_is_confirmed(registry: ModelRegistry, item: ModelItem, parts: Parts) -> None:
    record = install(registry, item, parts)

    registry.finish_ticket(record.digest, TicketState.CONFIRMED, "")

    (found,) = registry.tickets()
    assert (found.state, found.finished_at is not None) == (TicketState.CONFIRMED, True)


def test_taking_back_lets_serve_what_served_before(
    registry: ModelRegistry, item: ModelItem, second: ModelItem, parts: Parts
) -> None:
    first = install(registry, item, parts, 1)
    registry.finish_ticket(first.digest, TicketState.CONFIRMED, "")
    record = install(registry, second, parts, 2)
    assert (registry.desired([DIGITS]), record.previous) == ({DIGITS: TWO}, {DIGITS: ONE})

    registry.restore(record.digest, "it did not come up")

    assert registry.desired([DIGITS]) == {DIGITS: ONE}
    assert [(each.seq, each.state, each.reason) for each in registry.tickets()] == [
        (2, TicketState.ROLLED_BACK, "it did not come up"),
        (1, TicketState.CONFIRMED, ""),
    ]
    history = [(change.previous, change.version) for change in registry.model(DIGITS).history]
    assert history == [(None, 1), (1, 2), (2, 1)]


def test_taking_back_twice_is_taking_back_once(registry: ModelRegistry, item: ModelItem, parts: Parts) -> None:
    record = install(registry, item, parts)

    registry.restore(record.digest, "first")
    registry.restore(record.digest, "again")

    assert registry.desired([DIGITS]) == {DIGITS: None}
    assert [(change.previous, change.version) for change in registry.model(DIGITS).history] == [(None, 1), (1, None)]


def test_what_was_before_and_was_removed_since_leaves_the_model_unserved(
    registry: ModelRegistry, item: ModelItem, second: ModelItem, parts: Parts
) -> None:
    install(registry, item, parts, 1)
    record = install(registry, second, parts, 2)
    for each in registry.tickets():
        registry.finish_ticket(each.digest, TicketState.CONFIRMED, "")
    registry.remove(DIGITS, ONE)

    registry.restore(record.digest, "an operator took it back")

    assert registry.desired([DIGITS]) == {DIGITS: None}
    assert set(registry.model(DIGITS).versions) == {TWO}


def test_while_a_ticket_is_on_trial_what_it_may_go_back_to_cannot_be_removed(
    registry: ModelRegistry, item: ModelItem, second: ModelItem, parts: Parts
) -> None:
    install(registry, item, parts, 1)
    registry.finish_ticket(registry.tickets()[0].digest, TicketState.CONFIRMED, "")
    record = install(registry, second, parts, 2)

    with pytest.raises(Busy, match=r"ticket t-2 is on trial and may go back to it.*appliance update status"):
        registry.remove(DIGITS, ONE)
    registry.finish_ticket(record.digest, TicketState.CONFIRMED, "")
    registry.remove(DIGITS, ONE)

    assert set(registry.model(DIGITS).versions) == {TWO}


def test_a_refused_ticket_is_remembered_with_its_reason(registry: ModelRegistry) -> None:
    registry.refuse_ticket(ticket(3, {DIGITS: ONE}, {DIGITS: None}), "the model does not load")

    (found,) = registry.tickets()
    assert (found.state, found.reason, found.finished_at is not None) == (
        TicketState.FAILED,
        "the model does not load",
        True,
    )


def test_a_ticket_that_nobody_knows_is_named(registry: ModelRegistry) -> None:
    unknown = digest_of_bytes(b"unknown")

    with pytest.raises(NotFound, match=f"no ticket {unknown}"):
        registry.restore(unknown, "")
    with pytest.raises(NotFound, match=f"no ticket {unknown}"):
        registry.finish_ticket(unknown, TicketState.CONFIRMED, "")
    assert registry.ticket(unknown) is None


def test_a_signature_goes_with_its_version(registry: ModelRegistry, item: ModelItem, parts: Parts) -> None:
    record = install(registry, item, parts)
    registry.restore(record.digest, "")
    registry.remove(DIGITS, ONE)

    assert not registry.is_signed(DIGITS, ONE)


def test_an_empty_file_arrives_as_well(registry: ModelRegistry, tmp_path: Path, parts: Parts) -> None:
    package = write_package(tmp_path / "digits", usual_files() | {"golden/empty": b""})

    install(registry, item_of(package, parts), parts)

    file: ItemFile = item_of(package, parts).files["golden/empty"]
    assert registry.blobs.path(file.digest).read_bytes() == b""
    assert_whole(registry.layout)
