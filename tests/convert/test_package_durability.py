"""Whatever happens while a package is written, there is none or a whole one."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.convert.conversion import Conversion
from appliance.convert.package.package_writer import write_packages
from appliance.convert.package.scratch import PREFIX, scratch_directory
from appliance.convert.precision import Form
from appliance.convert.refusal import ConversionRefused, Reason
from tests.convert.real_conversions import (
    LEAF_FILES,
    PAGES,
    WHEN,
    a_conversion,
    a_leaf_conversion,
    a_request,
    a_variant,
    an_exported_model,
    ignore,
    mlp_graph,
)
from tests.registry.packages import files_below
from tests.support.onnx_models import write_mlp

ROOT = Path(__file__).parents[2]


WRITING = """
import resource, sys
from pathlib import Path
from appliance.convert.package.package_writer import write_packages
from appliance.convert.refusal import ConversionRefused
from tests.convert.real_conversions import PAGES, WHEN, a_leaf_conversion, ignore

conversion = a_leaf_conversion(Path(sys.argv[1]), Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    write_packages(conversion, PAGES, ignore, when=WHEN)
except ConversionRefused as error:
    print(error.reason.name, error)
"""


INTERRUPTED = """
import sys
from dataclasses import replace
from pathlib import Path
from appliance.convert.package.package_writer import write_packages
from tests.convert.real_conversions import PAGES, WHEN, a_leaf_conversion, ignore

conversion = a_leaf_conversion(Path(sys.argv[1]), Path(sys.argv[2]))
exported = replace(conversion.exported, processor_files=[Path(sys.argv[3])])
try:
    write_packages(replace(conversion, exported=exported), PAGES, ignore, when=WHEN)
except KeyboardInterrupt:
    print("interrupted")
"""


def write(conversion: Conversion, when: str = WHEN) -> list[Path]:
    return write_packages(conversion, PAGES, ignore, when=when)


@pytest.fixture
def leaves(tmp_path: Path) -> Conversion:
    return a_leaf_conversion(tmp_path / "work", tmp_path / "packages" / "leaves")


def test_an_interrupt_leaves_nothing(leaves: Conversion, tmp_path: Path) -> None:
    """Ctrl-C reaches a writer that stands still at a pipe in place of a tokenizer."""
    parent, pipe = leaves.request.out.parent, tmp_path / "tokenizer.json"

    os.mkfifo(pipe)
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "work"), str(leaves.request.out), str(pipe)]
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process,
        pipe.open("wb"),  # waits until the writer has opened its end
    ):
        half = [path.name for path in parent.glob(f"{PREFIX}*/leaves/*")]
        process.send_signal(signal.SIGINT)
        answer, _ = process.communicate(timeout=30)

    assert "model.toml" in half
    assert answer == "interrupted\n"
    assert list(parent.iterdir()) == []


def test_what_another_run_is_writing_stays_and_what_a_dead_one_left_goes(tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}dead"
    left.mkdir()
    (left / "half").write_text("half a package")
    with scratch_directory(tmp_path) as alive, scratch_directory(tmp_path) as other:
        found = set(tmp_path.iterdir())

    assert found == {alive, other}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.slow)])  # 1: before every operation
def test_a_kill_before_any_operation_leaves_no_package_or_a_whole_one(tmp_path: Path, stride: int) -> None:
    work, out = tmp_path / "work", tmp_path / "packages" / "leaves"
    command = [sys.executable, "-m", "tests.convert.kill_driver", str(work), str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(at: int) -> str | list[str]:
            process.stdin.write(f"{at}\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        operations = run(0)
        whole = files_below(out)
        shown = max(at for at, line in enumerate(operations, start=1) if line.startswith("rename "))
        seen = set()
        for at in [*range(1, len(operations), stride), shown, shown + 1]:
            shutil.rmtree(out.parent)
            place = f"killed before operation {at}: {operations[at - 1]}"
            assert run(at) == "killed", place
            assert out.exists() == (at > shown), place
            assert not out.exists() or files_below(out) == whole, place
            visible = [entry.name for entry in out.parent.iterdir()] if out.parent.exists() else []
            assert {name for name in visible if not name.startswith(".")} <= {"leaves"}, place
            seen.add(tuple(name.startswith(".") for name in visible))
            if not out.exists():
                assert run(0) != "killed", place
                assert files_below(out) == whole, place
                assert [entry.name for entry in out.parent.iterdir()] == ["leaves"], place
        process.stdin.close()

    assert (True,) in seen  # some kills did leave a hidden directory behind


def test_everything_is_on_the_disk_before_the_package_has_its_name(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "packages" / "leaves"
    command = [sys.executable, "-m", "tests.convert.kill_driver", str(work), str(out)]
    answer = subprocess.run(command, cwd=ROOT, input="0\n", check=True, capture_output=True, text=True).stdout
    operations = json.loads(answer)

    shown = next(at for at, line in enumerate(operations) if line.startswith("rename ") and line.endswith(str(out)))
    scratch = operations[shown].split()[1]
    synced = {line.removeprefix(f"fsync {scratch}") for line in operations[:shown] if line.startswith("fsync ")}
    assert {f"/{path}" for path in LEAF_FILES} | {"", "/1", "/golden", "/processor"} <= synced
    assert f"fsync {out.parent}" in operations[shown:]


def test_a_package_that_cannot_fit_is_refused_with_both_sizes(small_disk: Path, tmp_path: Path) -> None:
    file = write_mlp(tmp_path / "model.onnx", (8, 40_000, 4))
    graphs = [mlp_graph(file)]
    variants = [a_variant(graphs, Form.FP32, [file], chosen=True)]

    with pytest.raises(ConversionRefused, match=r"1\.9\d MiB needed, 1\.00 MiB free") as refused:
        write(a_conversion(a_request(small_disk / "leaves"), an_exported_model(graphs), variants))

    assert refused.value.reason is Reason.DISK_FULL
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("limit_bytes", [0, 500, 2000])
def test_a_write_that_the_system_refuses_leaves_nothing(tmp_path: Path, limit_bytes: int) -> None:
    out = tmp_path / "packages" / "leaves"
    command = [sys.executable, "-c", WRITING, str(tmp_path / "work"), str(out), str(limit_bytes)]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert answer.startswith("DISK_FULL no room for the package")
    assert "File too large" in answer
    assert list(out.parent.iterdir()) == []
