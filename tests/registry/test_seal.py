"""A sealed box: only what a signed bundle brought is added, activated, loaded."""

from pathlib import Path

import pytest

from appliance.errors import Unsupported
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.registry_source import RegistrySource
from appliance.registry.ticket_records import TicketState
from tests.registry.bundles import Parts, install, item_of
from tests.registry.packages import DIGITS, ONE, TWO, add, usual_files, write_package


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return write_package(tmp_path / "new" / "digits", usual_files(2))


def seal(registry: ModelRegistry) -> None:
    registry.layout.device.mkdir(parents=True)
    registry.layout.identity.write_text("{}")


def test_nothing_is_added_by_hand(registry: ModelRegistry, digits: Path) -> None:
    seal(registry)

    with pytest.raises(Unsupported, match=r"this box is sealed.*appliance update apply MEDIUM"):
        add(registry, digits)
    assert (registry.models(), list(registry.blobs.digests())) == ([], [])


def test_what_nobody_signed_is_not_loaded_and_says_why(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    registry.activate(DIGITS, ONE)
    source = RegistrySource(registry)
    version = source.scan()[DIGITS].versions[ONE]
    before = source.refusal(version, 2)
    seal(registry)

    refusal = source.refusal(version, 2)

    assert before == ""
    assert "this box is sealed, and version 1 of 'digits' came in no signed bundle" in refusal
    assert "appliance update apply MEDIUM" in refusal


def test_what_nobody_signed_cannot_be_activated(registry: ModelRegistry, digits: Path, second: Path) -> None:
    parts = Parts()
    add(registry, digits)
    install(registry, item_of(second, parts), parts)
    seal(registry)

    with pytest.raises(Unsupported, match="version 1 of 'digits' came in no signed bundle"):
        registry.activate(DIGITS, ONE)
    registry.activate(DIGITS, TWO, alias="canary")

    assert registry.model(DIGITS).aliases == {"canary": TWO, "serving": TWO}


def test_what_a_bundle_brought_is_loaded(registry: ModelRegistry, digits: Path) -> None:
    seal(registry)
    parts = Parts()
    record = install(registry, item_of(digits, parts), parts)
    registry.finish_ticket(record.digest, TicketState.CONFIRMED, "")
    source = RegistrySource(registry)
    version = source.scan()[DIGITS].versions[ONE]

    assert (source.refusal(version, 2), source.scan()[DIGITS].desired) == ("", (ONE,))
    source.verify(version)


def test_content_that_was_added_before_the_seal_may_be_signed_after(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    seal(registry)
    parts = Parts()

    install(registry, item_of(digits, parts), parts)

    source = RegistrySource(registry)
    assert source.refusal(source.scan()[DIGITS].versions[ONE], 2) == ""
