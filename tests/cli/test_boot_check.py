"""`appliance selftest --boot`: what a unit asks after a start of the machine."""

import pytest

from tests.cli.terminal import MODELS, Terminal


@pytest.mark.slow
def test_a_box_that_serves_everything_has_come_up(terminal: Terminal) -> None:
    with terminal.daemon("--models", MODELS):
        result = terminal.appliance("selftest", "--boot")
        told = terminal.appliance("selftest", "--boot", "--json").json

    assert "READY, 2 model versions" in result.story
    assert told == {"up": "READY, 2 model versions"}


def test_what_is_not_served_is_told_at_once(serving: Terminal) -> None:
    result = serving.appliance("selftest", "--boot", "--timeout", "60", code=1)

    assert "READY, but does not serve broken" in " ".join(result.story.split())


@pytest.mark.slow
def test_a_box_that_never_answers_is_told_after_the_time(terminal: Terminal) -> None:
    result = terminal.appliance("selftest", "--boot", "--timeout", "1", code=1)

    assert "did not come up in 1 s" in result.story
    assert "appliance doctor" in result.story
