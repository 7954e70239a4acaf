"""`appliance status` on a machine of its own: what the service tells, and what is left without it."""

import json

import pytest

from tests.system.installed import UNIT, wait_ready

pytestmark = [pytest.mark.slow, pytest.mark.root]

WIDTH = 80
OWNED_BY_ROOT = "find /var/lib/appliance ! -user appliance"


def test_the_service_tells_of_its_machine_from_within_its_sandbox(cabinet):
    status = json.loads(cabinet.run("appliance status --json"))
    screen = cabinet.run("COLUMNS=80 appliance status")

    assert status["state"] == "READY"
    assert status["slots"]["running"] == "A"
    assert status["hardware"]["memory_available_bytes"] > 0
    assert status["hardware"]["disk"]["free_bytes"] > 0
    assert not status["hardware"]["disk"]["read_only"]
    assert status["clock"]["suspect"] is False
    assert status["problems"] == []
    assert "from slot A (B: empty)" in " ".join(screen.split())
    assert max(map(len, screen.splitlines())) <= WIDTH


def test_without_the_service_status_says_what_the_disk_knows_and_leaves_nothing_behind(cabinet):
    cabinet.run(f"systemctl stop {UNIT}")
    before = cabinet.run(OWNED_BY_ROOT)

    code = cabinet.status_of("COLUMNS=80 appliance status > /shared/screen 2> /shared/story")
    screen = (cabinet.shared / "screen").read_text()

    assert code == 3
    assert "UNREACHABLE" in screen
    assert "slot A is next" in " ".join(screen.split())
    assert "digits" in screen
    assert "systemctl start appliance" in " ".join((cabinet.shared / "story").read_text().split())
    assert cabinet.run(OWNED_BY_ROOT) == before
    cabinet.run(f"systemctl start {UNIT}")
    wait_ready(cabinet)
