"""Real engines, built by TensorRT-RTX without a GPU: progress, cancelling, limits, and every way to fail."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import onnx
import psutil
import pytest

from appliance.backends.tensorrt.build_request import BuildRequest
from appliance.backends.tensorrt.engine_builder import build_engine
from appliance.backends.tensorrt.flavour import TENSORRT_RTX, choose_flavour
from appliance.errors import Cancelled, Failed, InvalidInput
from appliance.model.engine import ShapeRange
from tests.backends.tensorrt.networks import DIGITS, DIGITS_PROFILE, write_deep, write_dynamically_quantised
from tests.support.onnx_models import write_mlp

ROOT = Path(__file__).parents[3]
DIGITS_REQUEST = BuildRequest(DIGITS, (DIGITS_PROFILE,), 64, "8.9")


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A network that takes the builder about two seconds."""
    return write_deep(tmp_path_factory.mktemp("deep") / "deep.onnx", layers=600)


def build(request, target, advance=lambda _: None, cancelled=None):
    return build_engine(choose_flavour(TENSORRT_RTX), request, target, advance, cancelled or threading.Event())


def test_an_engine_is_built_with_progress_that_only_grows(tmp_path):
    seen = []

    result = build(DIGITS_REQUEST, tmp_path / "digits.engine", seen.append)

    engine = (tmp_path / "digits.engine").read_bytes()
    assert list(tmp_path.iterdir()) == [tmp_path / "digits.engine"]
    assert (result.size_bytes, result.digest) == (len(engine), f"sha256:{hashlib.sha256(engine).hexdigest()}")
    assert result.layers > 10
    assert result.peak_bytes > 50_000_000
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    assert any(progress.phase == "Building engine" for progress in seen)


def test_the_peak_is_that_of_the_build_however_large_the_one_who_asks_is(tmp_path):
    asking = f"""
import threading
from pathlib import Path
from appliance.backends.tensorrt.engine_builder import build_engine
from appliance.backends.tensorrt.flavour import choose_flavour
from tests.backends.tensorrt.test_engine_builder import DIGITS_REQUEST
held = bytes([1]) * (1 << 30)
target = Path({str(tmp_path / "engine")!r})
print(build_engine(choose_flavour(), DIGITS_REQUEST, target, lambda _: None, threading.Event()).peak_bytes)
"""
    said = subprocess.run([sys.executable, "-c", asking], stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)

    assert 50_000_000 < int(said.stdout) < 1 << 30


def test_the_shipped_classifier_of_tables_is_built(tmp_path):
    table = ROOT / "models" / "breast-cancer" / "1" / "model.onnx"

    assert build(BuildRequest(table, (), 64, "8.9"), tmp_path / "engine").layers >= 1


def test_the_same_request_gives_the_same_bytes(tmp_path):
    assert build(DIGITS_REQUEST, tmp_path / "one").digest == build(DIGITS_REQUEST, tmp_path / "two").digest


@pytest.mark.parametrize(
    "other",
    [
        {"compute_capability": "12.0"},
        {"profiles": ({"pixel_values": ShapeRange((1, 1, 32, 32), (2, 1, 32, 32), (2, 1, 32, 32))},)},
        {"profiles": (DIGITS_PROFILE, DIGITS_PROFILE)},
    ],
)
def test_another_request_gives_another_engine(tmp_path, other):
    one = build(DIGITS_REQUEST, tmp_path / "one")

    assert build(replace(DIGITS_REQUEST, **other), tmp_path / "two").digest != one.digest


def test_without_written_profiles_the_batch_axis_goes_up_to_the_largest_batch(tmp_path):
    write_mlp(tmp_path / "mlp.onnx", (16, 8))

    assert build(BuildRequest(tmp_path / "mlp.onnx", (), 8, "8.9"), tmp_path / "engine").layers >= 1
    with pytest.raises(InvalidInput, match="for which sizes shall the engine be built"):
        build(BuildRequest(tmp_path / "mlp.onnx", (), 0, "8.9"), tmp_path / "other")


def test_weights_beside_the_file_are_found(tmp_path):
    write_mlp(tmp_path / "inline.onnx", (16, 8))
    model = onnx.load(tmp_path / "inline.onnx")
    onnx.save(model, tmp_path / "mlp.onnx", save_as_external_data=True, location="mlp.bin", size_threshold=0)

    assert build(BuildRequest(tmp_path / "mlp.onnx", (), 8, "8.9"), tmp_path / "engine").size_bytes > 0


def test_what_was_measured_is_kept_for_the_next_build_and_a_broken_file_counts_as_none(tmp_path):
    cache = tmp_path / "timing.cache"
    request = replace(DIGITS_REQUEST, timing_cache=cache)

    first = build(request, tmp_path / "one")
    kept = cache.read_bytes()
    second = build(request, tmp_path / "two")
    cache.write_bytes(b"no cache" * 100)
    third = build(request, tmp_path / "three")

    assert kept
    assert first.digest == second.digest
    assert third.digest  # measured anew: on a busy machine it may choose otherwise
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "timing.cache", "two"]


def test_a_cancelled_build_leaves_nothing(tmp_path, deep):
    cancelled = threading.Event()

    def advance(progress):
        if progress.phase == "Building engine":
            cancelled.set()

    started_s = time.monotonic()
    with pytest.raises(Cancelled):
        build(BuildRequest(deep, (), 8, "8.9"), tmp_path / "engine", advance, cancelled)

    assert time.monotonic() - started_s < 30
    assert list(tmp_path.iterdir()) == []
    assert children_that_build() == []


def test_a_killed_build_is_told_with_what_it_was_doing(tmp_path, deep):
    def advance(progress):
        if progress.phase == "Building engine":
            for child in children_that_build():
                child.kill()

    with pytest.raises(Failed, match=r"ended with signal SIGKILL, it was building the engine \(Building engine"):
        build(BuildRequest(deep, (), 8, "8.9"), tmp_path / "engine", advance)

    assert list(tmp_path.iterdir()) == []


def test_when_the_one_who_asked_is_killed_the_build_ends_too(tmp_path, deep):
    asking = f"""
import threading
from pathlib import Path
from appliance.backends.tensorrt.build_request import BuildRequest
from appliance.backends.tensorrt.engine_builder import build_engine
from appliance.backends.tensorrt.flavour import choose_flavour
request = BuildRequest(Path({str(deep)!r}), (), 8, "8.9")
told = lambda progress: print(progress.phase, flush=True)
build_engine(choose_flavour(), request, Path({str(tmp_path / "engine")!r}), told, threading.Event())
"""
    with subprocess.Popen([sys.executable, "-c", asking], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        assert any(line == "Building engine\n" for line in parent.stdout)
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
    psutil.wait_procs([child], timeout=30)

    assert not child.is_running()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"memory_bytes": 20 << 20}, Failed, "needs more than 0.0 GiB"),
        ({"timeout_s": 0.5}, Failed, "takes longer than 0.5 s"),
        ({"compute_capability": "9.0"}, InvalidInput, "only for 7.5, 8.0, 8.6, 8.9, 12.0, 12.1"),
        ({"compute_capability": "fast"}, InvalidInput, "compute capability fast"),
        (
            {"profiles": ({"y": ShapeRange((1,), (1,), (1,))},)},
            InvalidInput,
            r"name input 'y', but the model has \['x'\]",
        ),
        (
            {"profiles": ({"x": ShapeRange((1, 3, 16, 16), (1, 3, 16, 16), (8, 3, 16, 16))},)},
            InvalidInput,
            r"found \[1,3,16,16\], the model has \[-1,32,16,16\]",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_and_nothing_is_left(tmp_path, deep, change, kind, words):
    with pytest.raises(kind, match=words) as refused:
        build(replace(BuildRequest(deep, (), 8, "8.9"), **change), tmp_path / "engine")

    assert refused.value.hint
    assert list(tmp_path.iterdir()) == []


def test_operators_that_tensorrt_does_not_have_are_named(tmp_path):
    file = write_dynamically_quantised(tmp_path / "dynamic.onnx")

    with pytest.raises(
        InvalidInput, match=r"TensorRT-RTX 1\..* refuses dynamic\.onnx: node 'quantise' \(DynamicQuantizeLinear\)"
    ):
        build(BuildRequest(file, (), 0, "8.9"), tmp_path / "engine")


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)))

    with pytest.raises(InvalidInput, match=r"refuses noise\.onnx"):
        build(BuildRequest(tmp_path / "noise.onnx", (), 1, "8.9"), tmp_path / "engine")


@pytest.mark.parametrize("name", [b"pixel_values", b"quantise"], ids=["of an input", "of a node that is refused"])
def test_a_name_that_is_no_text_is_the_fault_of_the_file(tmp_path, name):
    source = DIGITS if name == b"pixel_values" else write_dynamically_quantised(tmp_path / "odd.onnx")
    good = source.read_bytes()
    assert name in good
    (tmp_path / "odd.onnx").write_bytes(good.replace(name, name[:-1] + b"\x80"))

    with pytest.raises(InvalidInput, match=r"refuses odd\.onnx: a name in it is not UTF-8"):
        build(BuildRequest(tmp_path / "odd.onnx", (), 8, "8.9"), tmp_path / "engine")
    assert [path.name for path in tmp_path.iterdir()] == ["odd.onnx"]


def test_a_full_disk_is_said_and_leaves_nothing(small_disk, deep):
    with pytest.raises(Failed, match="No space left on device") as refused:
        build(BuildRequest(deep, (), 8, "8.9"), small_disk / "engine")

    assert "engines prune" in refused.value.hint
    assert list(small_disk.iterdir()) == []


def test_a_place_that_is_not_there_is_said(tmp_path):
    with pytest.raises(Failed, match="No such file"):
        build(DIGITS_REQUEST, tmp_path / "missing" / "engine")


@pytest.mark.parametrize("taken", ["engine", "engine.part"])
def test_a_place_that_is_taken_by_a_directory_is_said_and_the_directory_stays(tmp_path, taken):
    (tmp_path / taken).mkdir()

    with pytest.raises(Failed, match=r"cannot be written.*Is a directory"):
        build(DIGITS_REQUEST, tmp_path / "engine")
    assert list(tmp_path.iterdir()) == [tmp_path / taken]


def test_a_place_beneath_a_file_is_said(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(Failed, match=r"cannot be written.*Not a directory"):
        build(DIGITS_REQUEST, tmp_path / "file" / "engine")


@pytest.mark.parametrize("missing", ["model.onnx", "gone/model.onnx"])
def test_a_model_that_is_not_there_is_said_and_not_blamed_on_the_disk(tmp_path, missing):
    with pytest.raises(InvalidInput, match=rf"{missing} is not there"):
        build(replace(DIGITS_REQUEST, model_file=tmp_path / missing), tmp_path / "engine")


def test_what_the_one_who_listens_raises_reaches_him_and_nothing_is_left(tmp_path):
    def advance(progress):
        raise BrokenPipeError(progress.phase)

    with pytest.raises(BrokenPipeError):
        build(DIGITS_REQUEST, tmp_path / "engine", advance)
    assert list(tmp_path.iterdir()) == []
    assert children_that_build() == []


def test_a_flavour_that_cannot_be_imported_is_said_with_the_remedy(tmp_path):
    broken = replace(choose_flavour(TENSORRT_RTX), module="tensorrt_that_is_not_there")

    with pytest.raises(Failed, match="cannot be loaded") as refused:
        build_engine(broken, DIGITS_REQUEST, tmp_path / "engine", lambda _: None, threading.Event())

    assert "pip install" in refused.value.hint


def children_that_build():
    children = psutil.Process(os.getpid()).children()
    return [child for child in children if any("build_child" in argument for argument in child.cmdline())]
