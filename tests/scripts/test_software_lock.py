"""The locked wheels of software trees satisfy what pyproject.toml asks for, for every box, and name no place."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "scripts" / "software").glob("*.lock"))
ENTRY = re.compile(r"^([a-z0-9.-]+)==(\S+)(?: ;.*?)? \\$", re.MULTILINE)


def locked(lock: Path) -> dict[str, list[str]]:
    versions: dict[str, list[str]] = {}
    for name, version in ENTRY.findall(lock.read_text()):
        versions.setdefault(name, []).append(version)
    return versions


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_everything_that_the_box_needs_is_locked_in_a_version_that_it_allows(lock):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"][lock.stem]]
    found = locked(lock)
    wrong = [
        f"{requirement}: {found.get(requirement.name.lower())}"
        for requirement in map(Requirement, wanted)
        if not found.get(requirement.name.lower())
        or any(version not in requirement.specifier for version in found[requirement.name.lower()])
    ]

    assert wrong == [], f"scripts/lock-software {lock.stem}"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_wheel_is_named_by_its_digest_and_none_by_a_place(lock):
    text = lock.read_text()
    digests = re.findall(r"--hash=sha256:([0-9a-f]{64})", text)

    assert "://" not in text
    assert len(digests) >= len(locked(lock))
    assert len(digests) == len(set(digests))


def test_there_is_a_lock_for_boxes_without_a_gpu():
    assert "cpu" in [lock.stem for lock in LOCKS]
