"""Packages are written whole or not at all, and are the same bytes each time."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from appliance.convert.conversion import Conversion
from appliance.convert.exported_model import ShapeProfile
from appliance.convert.package_writer import require_free_place, write_packages
from appliance.convert.precision import Form
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.scratch import PREFIX, scratch_directory
from appliance.errors import Failed
from appliance.model.identity import ModelName, ModelVersion
from appliance.registry.package import read_package
from tests.convert.real_conversions import (
    PAGES,
    WHEN,
    WIDTHS,
    a_conversion,
    a_leaf_conversion,
    a_request,
    a_variant,
    an_exported_model,
    choosing,
    ignore,
    mlp_graph,
)
from tests.registry.packages import files_below
from tests.support.onnx_models import write_mlp

ROOT = Path(__file__).parents[2]
SMALL_DISK_BYTES = 1024 * 1024
LEAF_FILES = {
    "model.toml",
    "1/model.onnx",
    "1/model.fp16.onnx",
    "labels.txt",
    "processor/preprocessing.json",
    "golden/golden.toml",
    *(f"golden/{number}.{tensor}.npy" for number in range(1, 5) for tensor in ("input0.INPUT0", "output0.OUTPUT0")),
    "card.md",
    "provenance.json",
    "conversion.html",
    "conversion.json",
}
WRITING = """
import resource, sys
from pathlib import Path
from appliance.convert.package_writer import write_packages
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
from appliance.convert.package_writer import write_packages
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


def arrays(file: Path) -> list[bytes]:
    """Raises if the file with the weights is not where the graph says."""
    return [numpy_helper.to_array(tensor).tobytes() for tensor in onnx.load(file).graph.initializer]


@pytest.fixture
def leaves(tmp_path: Path) -> Conversion:
    return a_leaf_conversion(tmp_path / "work", tmp_path / "packages" / "leaves")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_package_holds_what_was_found_out_and_every_variant_within_tolerance(leaves: Conversion) -> None:
    (place,) = write(leaves)

    assert set(files_below(place)) == LEAF_FILES
    assert read_package(place).licence == "Apache-2.0"
    assert [entry.name for entry in place.parent.iterdir()] == ["leaves"]


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    found = [
        files_below(write(a_leaf_conversion(tmp_path / run / "work", tmp_path / run / "leaves"))[0])
        for run in ("one", "two")
    ]

    assert found[0] == found[1]


def test_only_provenance_knows_when_it_was_written(tmp_path: Path) -> None:
    found = [
        files_below(write(a_leaf_conversion(tmp_path / "work", tmp_path / when / "leaves"), when)[0])
        for when in ("2024-06-01T12:00:00Z", "2025-01-01T00:00:00Z")
    ]

    assert {path for path in found[0] if found[0][path] != found[1][path]} == {"provenance.json"}


def test_no_path_of_the_workstation_gets_into_a_package(tmp_path: Path) -> None:
    conversion = a_leaf_conversion(
        tmp_path / "work", tmp_path / "leaves", source=str(tmp_path / "source"), samples=tmp_path / "pictures"
    )
    (place,) = write(conversion)

    assert [path for path, content in files_below(place).items() if str(tmp_path).encode() in content] == []


def test_the_chosen_variant_is_the_one_that_the_configuration_names(leaves: Conversion) -> None:
    (place,) = write(choosing(leaves, Form.FP16))

    assert read_package(place).versions[ModelVersion(1)].model_file == "1/model.fp16.onnx"


def test_an_encoder_and_a_decoder_become_two_packages_in_one_step(tmp_path: Path) -> None:
    files = [write_mlp(tmp_path / f"{name}_model.onnx", WIDTHS) for name in ("encoder", "decoder")]
    graphs = [mlp_graph(file, name=name) for file, name in zip(files, ("encoder", "decoder"), strict=True)]
    exported = an_exported_model(graphs, labels=[], label_output="")
    variants = [a_variant(graphs, Form.FP32, files, chosen=True)]
    places = write(a_conversion(a_request(tmp_path / "speech"), exported, variants))

    assert [place.relative_to(tmp_path).as_posix() for place in places] == [
        "speech/speech-encoder",
        "speech/speech-decoder",
    ]
    assert [read_package(place).name for place in places] == ["speech-encoder", "speech-decoder"]


def test_a_model_with_another_name_than_its_place_lies_inside(tmp_path: Path) -> None:
    (place,) = write(a_leaf_conversion(tmp_path / "work", tmp_path / "out", name=ModelName("leaves")))

    assert place == tmp_path / "out" / "leaves"
    assert read_package(place).name == "leaves"


def test_weights_in_a_file_of_their_own_are_found_under_their_new_name(tmp_path: Path) -> None:
    plain = write_mlp(tmp_path / "plain.onnx", WIDTHS)
    file = tmp_path / "exported.onnx"
    onnx.save(onnx.load(plain), file, save_as_external_data=True, location="exported.onnx.data", size_threshold=0)
    graphs = [mlp_graph(file)]
    variants = [a_variant(graphs, Form.FP32, [file], chosen=True)]
    (place,) = write(a_conversion(a_request(tmp_path / "leaves"), an_exported_model(graphs), variants))

    assert (place / "1" / "model.onnx.data").read_bytes() == (tmp_path / "exported.onnx.data").read_bytes()
    assert arrays(place / "1" / "model.onnx") == arrays(plain)
    assert "1/model.onnx.data" in json.loads((place / "provenance.json").read_text())["onnx"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_place_that_is_taken_is_refused_and_left_as_it_is(leaves: Conversion, version: int) -> None:
    (place,) = write(leaves)
    before = files_below(place)
    again = replace(leaves, request=replace(leaves.request, version=ModelVersion(version)))

    with pytest.raises(ConversionRefused, match=f"--out .*/version-{version}/leaves") as refused:
        write(again)

    assert refused.value.reason is Reason.EXISTS
    assert files_below(place) == before


def test_a_file_and_a_dangling_link_are_taken_places_and_an_empty_directory_is_not(tmp_path: Path) -> None:
    file, link, empty = tmp_path / "file", tmp_path / "link", tmp_path / "empty"
    file.touch()
    link.symlink_to("nowhere")
    empty.mkdir()

    for taken in (file, link):
        with pytest.raises(ConversionRefused):
            require_free_place(a_request(taken))
    require_free_place(a_request(empty))


def test_an_empty_directory_becomes_the_package(leaves: Conversion) -> None:
    leaves.request.out.mkdir(parents=True)
    (place,) = write(leaves)

    assert read_package(place).name == "leaves"


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Failed, match="cannot be written"):
        write(a_leaf_conversion(tmp_path / "work", tmp_path / "file" / "leaves"))


def test_a_label_that_is_no_line_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    conversion = a_leaf_conversion(tmp_path / "work", tmp_path / "packages" / "leaves")
    broken = replace(conversion, exported=replace(conversion.exported, labels=["healthy", "ru\u2028st", "a", "b"]))

    with pytest.raises(ConversionRefused, match=r"the label of class 1 is 'ru\\u2028st'"):
        write(broken)

    assert not (tmp_path / "packages").exists()


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


def test_a_graph_whose_rows_depend_on_each_other_is_served_without_batching(tmp_path: Path) -> None:
    file = write_mlp(tmp_path / "model.onnx", WIDTHS)
    graphs = [mlp_graph(file, batched=False)]
    variants = [a_variant(graphs, Form.FP32, [file], chosen=True)]
    (place,) = write(a_conversion(a_request(tmp_path / "leaves"), an_exported_model(graphs), variants))

    config = read_package(place).config
    assert (config.max_batch_size, config.dynamic_batching) == (0, None)


def test_the_smallest_of_the_profiles_bounds_the_batch(tmp_path: Path) -> None:
    file = write_mlp(tmp_path / "model.onnx", WIDTHS)
    graphs = [mlp_graph(file, profiles={"INPUT0": ShapeProfile((1, 8), (2, 8), (3, 8))})]
    variants = [a_variant(graphs, Form.FP32, [file], chosen=True)]
    (place,) = write(a_conversion(a_request(tmp_path / "leaves"), an_exported_model(graphs), variants))

    assert read_package(place).config.max_batch_size == 3
