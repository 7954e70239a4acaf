"""kill -9 before every file operation: old or new, never neither, and nothing in between is ever visible."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.registry.model_registry import ModelRegistry
from appliance.state_layout import StateLayout
from tests.registry.kill_session import Driver, copy_state, started_driver
from tests.registry.packages import DIGITS, ONE, TWO, add, assert_whole, needed_blobs, usual_files, write_package

Summary = tuple[dict[int, str], dict[str, int]]  # version -> digest, alias -> version


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Version 2, which shares files with version 1."""
    return write_package(tmp_path / "new" / "digits", usual_files(2))


def nothing(_: StateLayout, __: Path) -> None:
    """No state directory at all."""


def one_version(layout: StateLayout, first: Path) -> None:
    with ModelRegistry.open(layout) as registry:
        add(registry, first)
        registry.activate(DIGITS, ONE)


def two_versions(layout: StateLayout, first: Path) -> None:
    one_version(layout, first)
    with ModelRegistry.open(layout) as registry:
        add(registry, first.parent / "new" / "digits")


def one_inactive_version(layout: StateLayout, first: Path) -> None:
    two_versions(layout, first)
    with ModelRegistry.open(layout) as registry:
        registry.activate(DIGITS, TWO)


def garbage(layout: StateLayout, first: Path) -> None:
    one_inactive_version(layout, first)
    with ModelRegistry.open(layout) as registry:
        registry.remove(DIGITS, ONE)


def rotten_blob(layout: StateLayout, first: Path) -> None:
    one_version(layout, first)
    with ModelRegistry.open(layout) as registry:
        labels = registry.blobs.path(registry.version(DIGITS, ONE).manifest.files["labels.txt"].digest)
        labels.chmod(0o644)
        labels.write_bytes(b"rotten")


def tampered_view(layout: StateLayout, first: Path) -> None:
    one_version(layout, first)
    with ModelRegistry.open(layout) as registry:
        (registry.views.path(registry.version(DIGITS, ONE).digest) / "labels.txt").unlink()


def summary(registry: ModelRegistry) -> Summary:
    models = registry.models()
    if not models:
        return {}, {}
    (model,) = models
    return {number: version.digest for number, version in model.versions.items()}, dict(model.aliases)


def read_summary(state: Path) -> Summary:
    with ModelRegistry.open(StateLayout(state)) as registry:
        return summary(registry)


def assert_old_or_new(layout: StateLayout, before: Summary, after: Summary, place: str, *, sound: bool) -> None:
    """`sound`: nothing was damaged before the operation either."""
    with ModelRegistry.open(layout) as registry:
        assert list(layout.staging.iterdir()) == [], place
        assert summary(registry) in (before, after), place
        assert registry.database.check() == "", place
        if sound:
            assert registry.verify() == [], place
            assert_whole(layout)


def assert_done(layout: StateLayout, after: Summary, place: str) -> None:
    """After the operation was repeated and garbage was collected."""
    with ModelRegistry.open(layout) as registry:
        assert summary(registry) == after, place
        registry.collect_garbage()
        assert registry.verify() == [], place
        assert_whole(layout)
        manifests = [version.manifest for model in registry.models() for version in model.versions.values()]
        views = {manifest.digest().removeprefix("sha256:") for manifest in manifests}
        assert {path.name for path in (layout.blobs / "sha256").iterdir()} == needed_blobs(manifests), place
        assert {path.name for path in layout.views.iterdir()} == views, place
        assert list(layout.staging.iterdir()) == [], place


@pytest.mark.parametrize(
    ("operation", "prepare", "stride"),  # a stride of 1 kills before every operation
    [
        ("activate", two_versions, 1),
        ("remove", one_inactive_version, 1),
        ("gc", garbage, 2),
        ("add", one_version, 9),
        pytest.param("open", nothing, 1, marks=pytest.mark.slow),
        pytest.param("gc", garbage, 1, marks=pytest.mark.slow),
        pytest.param("verify", tampered_view, 1, marks=pytest.mark.slow),
        pytest.param("add", nothing, 1, marks=pytest.mark.slow),
        pytest.param("add", one_version, 1, marks=pytest.mark.slow),
        pytest.param("add", rotten_blob, 1, marks=pytest.mark.slow),
    ],
)
def test_an_operation_that_is_killed_anywhere_has_happened_or_has_not(
    driver: Driver,
    operation: str,
    prepare: Callable[[StateLayout, Path], None],
    stride: int,
    digits: Path,
    second: Path,
    tmp_path: Path,
) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    prepare(StateLayout(template), digits)
    package = digits if prepare is rotten_blob else second
    before = read_summary(copy_state(template, state)) if template.exists() else ({}, {})
    operations = driver.perform(operation, copy_state(template, state), package)
    assert operations != "killed"
    after = read_summary(state)
    layout = StateLayout(state)

    for at in range(1, len(operations) + 1, stride):
        place = f"killed before operation {at}: {operations[at - 1]}"
        assert driver.perform(operation, copy_state(template, state), package, at) == "killed", place
        assert_old_or_new(layout, before, after, place, sound=prepare not in (rotten_blob, tampered_view))
        assert driver.perform(operation, state, package) != "killed", place
        assert_done(layout, after, place)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(("operation", "prepare"), [("activate", two_versions), ("add", one_version)])
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "fsync", "ftruncate", "unlink"])
def test_a_kill_inside_sqlite_changes_nothing_of_that(
    call: str,
    operation: str,
    prepare: Callable[[StateLayout, Path], None],
    digits: Path,
    second: Path,
    tmp_path: Path,
) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    layout = StateLayout(state)
    prepare(StateLayout(template), digits)
    before = read_summary(copy_state(template, state))
    with started_driver() as plain:
        assert plain.perform(operation, copy_state(template, state), second) != "killed"
    after = read_summary(state)

    for when in range(1, 200):
        inject = f"inject={call}:signal=SIGKILL:when={when}"
        copy_state(template, state)
        with started_driver("strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject) as traced:
            if traced.perform(operation, state, second) != "killed":
                break
        place = f"killed in {call} number {when}"
        assert_old_or_new(layout, before, after, place, sound=True)
        with started_driver() as plain:
            assert plain.perform(operation, state, second) != "killed", place
        assert_done(layout, after, place)
    else:
        pytest.fail("was killed 200 times")


def test_an_attempt_to_load_is_counted_once_it_is_told(
    driver: Driver, digits: Path, second: Path, tmp_path: Path
) -> None:
    two_versions(StateLayout(tmp_path / "template"), digits)
    state = copy_state(tmp_path / "template", tmp_path / "state")
    operations = driver.perform("load", state, second)
    commit = operations.index("sql COMMIT") + 1
    counts = []
    for at in range(1, len(operations) + 2):
        driver.perform("load", copy_state(tmp_path / "template", state), second, at)
        with ModelRegistry.open(StateLayout(state)) as registry:
            counts.append(bool(registry.crash_guard.refusal(DIGITS, TWO, 1)))

    assert counts == [at > commit for at in range(1, len(operations) + 2)]


def test_names_are_given_only_to_what_is_on_the_disk(
    driver: Driver, digits: Path, second: Path, tmp_path: Path
) -> None:
    """What a power cut would find: content is synced before its name, names before the row that needs them."""
    one_version(StateLayout(tmp_path / "state"), digits)
    operations: list[str] = driver.perform("add", tmp_path / "state", second)

    commit = max(index for index, line in enumerate(operations) if line == "sql COMMIT")
    blobs = str(tmp_path / "state" / "blobs" / "sha256")
    links = [(index, line.split()) for index, line in enumerate(operations) if line.startswith("link ")]
    published = [(index, words[1]) for index, words in links if words[2].startswith(blobs)]
    assert len(published) == 7
    for index, source in published:
        written = max(at for at, line in enumerate(operations) if line in {f"write {source}", f"fchmod {source}"})
        assert f"fsync {source}" in operations[written:index]
    assert f"fsync {blobs}" in operations[published[-1][0] : commit]
    views = str(tmp_path / "state" / "views")
    shown = next(index for index, line in enumerate(operations) if line.startswith("rename ") and views in line)
    assert f"fsync {views}" in operations[shown:commit]
