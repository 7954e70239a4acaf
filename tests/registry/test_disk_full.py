"""No room on the disk: a clear error, and nothing stays behind."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import Failed
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.package import read_package
from appliance.registry.registry_source import RegistrySource
from appliance.state_layout import StateLayout
from tests.registry.packages import DIGITS, ONE, TWO, accept, add, assert_whole, write_package
from tests.support.small_disk import SMALL_DISK_BYTES

ROOT = Path(__file__).parents[2]
LIMITED = """
import resource, sys
from pathlib import Path
from appliance.errors import Failed
from appliance.registry.model_registry import ModelRegistry
from appliance.state_layout import StateLayout
from tests.registry.packages import add

with ModelRegistry.open(StateLayout(Path(sys.argv[1]))) as registry:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    try:
        add(registry, Path(sys.argv[2]))
    except Failed as error:
        print(error)
"""


def blobs(layout: StateLayout) -> list[Path]:
    return list((layout.blobs / "sha256").iterdir())


def test_a_package_that_cannot_fit_is_refused_before_it_is_copied(small_disk: Path, digits: Path) -> None:
    write_package(digits, {"1/model.onnx": b"x" * SMALL_DISK_BYTES})
    layout = StateLayout(small_disk)
    with ModelRegistry.open(layout) as registry:
        with pytest.raises(Failed, match=r"not enough room for 'digits': \d+ bytes needed, \d+ free"):
            add(registry, digits)

        assert (registry.models(), blobs(layout), list(layout.staging.iterdir())) == ([], [], [])


def test_a_disk_that_fills_up_at_any_point_leaves_nothing_of_a_package(small_disk: Path, digits: Path) -> None:
    layout = StateLayout(small_disk)
    filler = small_disk / "filler"
    refused = 0
    with ModelRegistry.open(layout) as registry:
        package = read_package(digits)
        for spare_bytes in range(0, 300_000, 4096):
            filler.unlink(missing_ok=True)
            free_bytes = shutil.disk_usage(small_disk).free
            filler.write_bytes(b"x" * max(0, free_bytes - spare_bytes))
            try:
                registry.add(package, check=accept)
                break
            except Failed as error:
                refused += 1
                assert error.hint, spare_bytes  # noqa: PT017
            assert list(layout.staging.iterdir()) == [], spare_bytes
            assert blobs(layout) == [], spare_bytes
            assert registry.models() == [], spare_bytes
        filler.unlink()

        assert refused > 5
        assert registry.verify() == []
        assert_whole(layout)
        assert set(registry.model(DIGITS).versions) == {ONE}


def test_a_full_disk_can_be_read_served_from_and_cleared(small_disk: Path, digits: Path) -> None:
    layout = StateLayout(small_disk)
    write_package(digits, {"2/model.onnx": b"two"})
    with ModelRegistry.open(layout) as registry:
        add(registry, digits)
        registry.activate(DIGITS, ONE)
    (small_disk / "filler").write_bytes(b"x" * shutil.disk_usage(small_disk).free)
    assert shutil.disk_usage(small_disk).free == 0

    with ModelRegistry.open(layout) as registry:
        source = RegistrySource(registry)
        version = source.scan()[DIGITS].versions[ONE]
        source.verify(version)
        source.load_started(version)
        source.load_finished(version, "")
        registry.remove(DIGITS, TWO)
        registry.collect_garbage()

        assert set(registry.model(DIGITS).versions) == {1}
        assert registry.verify() == []
    assert shutil.disk_usage(small_disk).free > 0


@pytest.mark.parametrize("limit_bytes", [0, 10, 600, 850])
def test_a_write_that_the_system_refuses_leaves_nothing(layout: StateLayout, digits: Path, limit_bytes: int) -> None:
    command = [sys.executable, "-c", LIMITED, str(layout.root), str(digits), str(limit_bytes)]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert "File too large" in answer
    assert "make room: remove versions that nobody needs" in answer
    with ModelRegistry.open(layout) as registry:
        assert (registry.models(), blobs(layout), list(layout.staging.iterdir())) == ([], [], [])
