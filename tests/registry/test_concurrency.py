"""Several processes at the same registry."""

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.registry.model_registry import ModelRegistry
from appliance.state_layout import StateLayout
from tests.registry.packages import DIGITS, add, assert_whole, needed_blobs, usual_files, write_package

ROOT = Path(__file__).parents[2]
OPEN = """
import sys, itertools
from pathlib import Path
from appliance.errors import AlreadyExists
from appliance.registry.model_registry import ModelRegistry
from appliance.state_layout import StateLayout
from tests.registry.packages import add
sys.stdin.readline()  # all begin together
with ModelRegistry.open(StateLayout(Path(sys.argv[1]))) as registry:
"""
ADD = """
    for package in sys.argv[2:]:
        try:
            print(*[int(version.already_there) for version in add(registry, Path(package))])
        except AlreadyExists:
            print("refused")
"""
COLLECT = """
    for _ in range(40):
        registry.collect_garbage()
"""


class Child:
    """One process that waits for `go`."""

    def __init__(self, script: str, layout: StateLayout, *packages: Path) -> None:
        command = [sys.executable, "-c", OPEN + script, str(layout.root), *map(str, packages)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_together(*children: Child) -> list[list[str]]:
    for child in children:
        assert child.process.stdin is not None
        child.process.stdin.write("\n")
        child.process.stdin.flush()
    answers = [child.process.communicate(timeout=60)[0].split() for child in children]
    assert [child.process.returncode for child in children] == [0] * len(children)
    return answers


def assert_sound(layout: StateLayout, versions: set[int]) -> None:
    with ModelRegistry.open(layout) as registry:
        found = registry.model(DIGITS).versions
        assert set(found) == versions
        assert registry.verify() == []
        registry.collect_garbage()
        assert_whole(layout)
        manifests = [version.manifest for version in found.values()]
        assert {path.name for path in (layout.blobs / "sha256").iterdir()} == needed_blobs(manifests)
        assert all(registry.views.is_whole(manifest) for manifest in manifests)
        assert list(layout.staging.iterdir()) == []


@pytest.mark.slow
def test_processes_that_add_the_same_package_at_once_all_succeed(layout: StateLayout, digits: Path) -> None:
    answers = run_together(*(Child(ADD, layout, digits) for _ in range(4)))

    assert [answer for answer in answers if answer not in (["0"], ["1"])] == []
    assert_sound(layout, {1})


@pytest.mark.slow
def test_of_two_contents_for_one_version_one_is_refused(layout: StateLayout, digits: Path, tmp_path: Path) -> None:
    other = write_package(tmp_path / "other" / "digits", {**usual_files(), "labels.txt": "eins\n"})

    answers = run_together(Child(ADD, layout, digits), Child(ADD, layout, other))

    assert sorted(answers) == [["0"], ["refused"]]
    assert_sound(layout, {1})


@pytest.mark.slow
def test_what_is_being_added_is_no_garbage(layout: StateLayout, tmp_path: Path) -> None:
    packages = [write_package(tmp_path / str(number) / "digits", usual_files(number)) for number in range(1, 21)]

    run_together(Child(ADD, layout, *packages[::2]), Child(ADD, layout, *packages[1::2]), Child(COLLECT, layout))

    assert_sound(layout, set(range(1, 21)))


def test_readers_see_old_or_new_while_another_writes(registry: ModelRegistry, digits: Path) -> None:
    with ModelRegistry.open(registry.layout) as other, registry.database.reading() as connection:
        before = connection.execute("SELECT count(*) FROM versions").fetchone()[0]
        add(other, digits)

        assert before == connection.execute("SELECT count(*) FROM versions").fetchone()[0] == 0
    assert len(registry.models()) == 1
