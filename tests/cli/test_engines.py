"""`appliance engines`: real engines for a GPU that is not here, built by TensorRT-RTX."""

import hashlib
import importlib.util
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import write_package
from tests.cli.terminal import MODELS, PROGRAM, ROOT, TIMEOUT_S, WIDTH, Terminal, clean_environment
from tests.support.deep_model import write_deep

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="needs the extra [tensorrt-rtx]"
)

FOR_ADA = ("--compute-capability", "8.9")
DIGITS = ("engines", "build", "digits", "--models", MODELS, *FOR_ADA)
COMPONENTS = (
    *("onnx_digest", "precision", "flavour", "flavour_version", "compute_capability", "gpu_name", "gpu_class"),
    *("driver", "l4t", "profile 1", "workspace_bytes", "optimization_level", "max_batch_size"),
)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a model whose engine takes seconds to build."""
    models = tmp_path_factory.mktemp("models")
    write_deep(models / "deep" / "1" / "model.onnx", 600)
    return models


def engine_files(state: Path) -> list[str]:
    """Names of all files of engines, without timing caches."""
    below = state / "cache" / "engines"
    return sorted(
        str(path.relative_to(below)) for path in below.rglob("*") if path.is_file() and path.parent.name != "timing"
    )


@contextmanager
def started(terminal: Terminal, models: Path) -> "Iterator[subprocess.Popen[str]]":
    """A build of 'deep', from the moment when its engine is being built."""
    command = [
        *PROGRAM,
        "engines",
        "build",
        "deep",
        "--models",
        models,
        *FOR_ADA,
        "--state",
        terminal.state,
        "--json",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(TIMEOUT_S)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def wait_for(process: "subprocess.Popen[str]", words: str) -> None:
    """Read its story until it says something."""
    assert process.stderr is not None
    heard = ""
    while words not in " ".join(heard.split()):
        line = process.stderr.readline()
        assert line, heard
        heard += line


def children_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_the_second_build_is_the_first_one(terminal: Terminal) -> None:
    first = terminal.appliance(*DIGITS, "--json").json
    second = terminal.appliance(*DIGITS, "--json")

    assert first["cached"] is False
    assert second.json["cached"] is True
    assert {**second.json, "cached": False, "seconds": 0, "used_at": ""} == {**first, "seconds": 0, "used_at": ""}
    content = Path(first["path"]).read_bytes()
    assert first["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert first["size_bytes"] == len(content)
    assert second.err == ""


def test_building_says_what_it_does_and_what_to_do_next(terminal: Terminal) -> None:
    built = terminal.appliance(*DIGITS)
    again = terminal.appliance(*DIGITS)

    assert "digits version 1: building the engine" in built.story
    assert "next: appliance engines show" in built.story
    assert "the engine was built in" in built.out
    assert "the engine was there already" in again.out
    assert built.widest <= WIDTH


def test_an_engine_is_listed_shown_and_pruned(terminal: Terminal) -> None:
    key = terminal.appliance(*DIGITS, "--json").json["key"]
    listed = terminal.appliance("engines", "list")
    shown = terminal.appliance("engines", "show", key[:8])

    assert [engine["key"] for engine in terminal.appliance("engines", "list", "--json").json] == [key]
    assert key[:12] in listed.out
    assert "compute capability 8.9" in listed.out
    assert [name for name in COMPONENTS if name not in shown.out] == []
    assert "pixel_values [1,1,32,32] to [4,1,32,32] to [64,1,32,32]" in " ".join(shown.out.split())
    assert terminal.appliance("engines", "show", key, "--json").json["components"]["precision"] == "fp32"
    assert max(listed.widest, shown.widest) <= WIDTH
    assert terminal.appliance("engines", "prune", "--json").json["removed"] == []
    assert terminal.appliance("engines", "prune", "--largest-bytes", "0", "--json").json["removed"] == [key]
    assert terminal.appliance("engines", "list", "--json").json == []
    assert engine_files(terminal.state) == []


def test_a_registered_model_is_built_without_a_directory(terminal: Terminal) -> None:
    terminal.appliance("models", "add", MODELS / "digits")

    first = terminal.appliance("engines", "build", "digits", *FOR_ADA, "--json").json
    second = terminal.appliance("engines", "build", "digits", "1", *FOR_ADA, "--json").json
    third = terminal.appliance(*DIGITS, "--json").json

    assert [built["cached"] for built in (first, second, third)] == [False, True, True]
    assert terminal.appliance("models", "verify", "--json").json == []


def test_a_directory_of_models_needs_nothing_in_the_registry(terminal: Terminal) -> None:
    terminal.appliance(*DIGITS)

    assert terminal.appliance("models", "list", "--json").json == []


def test_a_changed_byte_is_told_and_built_again(terminal: Terminal) -> None:
    first = terminal.appliance(*DIGITS, "--json").json
    file = Path(first["path"])
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)

    again = terminal.appliance(*DIGITS, "--json")

    assert again.json["cached"] is False
    assert f"engine {first['key'][:12]} is removed: its content is sha256:" in again.story
    assert f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" == again.json["digest"]


def test_the_timing_cache_goes_into_a_directory(terminal: Terminal, tmp_path: Path) -> None:
    terminal.appliance(*DIGITS)

    result = terminal.appliance("engines", "export-timing-cache", "--to", tmp_path / "out")
    again = terminal.appliance("engines", "export-timing-cache", "--to", tmp_path / "out", code=1)

    (file,) = (tmp_path / "out").iterdir()
    assert result.out == f"{file}\n"
    assert file.name.startswith("tensorrt-rtx-")
    assert "sm8.9" in file.name
    assert "exists" in again.story


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["build", "digits", "--models", "/nonexistent", *FOR_ADA], "/nonexistent is not a directory"),
        (["build", "nonesuch", "--models", MODELS, *FOR_ADA], "which has breast-cancer, digits"),
        (["build", "digits", "2", "--models", MODELS, *FOR_ADA], "'digits' has no version 2, it has 1"),
        (["build", "digits", "x", "--models", MODELS, *FOR_ADA], "invalid model version 'x'"),
        (["build", "../digits", "--models", MODELS, *FOR_ADA], "invalid model name"),
        (["build", "digits", "--models", MODELS, "--compute-capability", "9.9"], "only for 7.5, 8.0, 8.6, 8.9"),
        (["build", "digits", "--models", MODELS, "--compute-capability", "ada"], "'ada' is no compute capability"),
        (["build", "digits", "--models", MODELS, "--gpu", "GPU-1", *FOR_ADA], "exclude each other"),
        (["build", "digits", *FOR_ADA], "there is no registry in"),
        (["show", "abcd"], "there are no engines in"),
        (["prune"], "there are no engines in"),
        (["export-timing-cache", "--to", "x"], "there are no engines in"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    terminal: Terminal, words: list[str | Path], sentence: str
) -> None:
    result = terminal.appliance("engines", *words, code=1)

    assert sentence in result.story
    assert "next: " in result.err
    assert result.out == ""
    assert engine_files(terminal.state) == []


def test_without_a_gpu_the_way_to_build_without_one_is_said(terminal: Terminal) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU")
    result = terminal.appliance("engines", "build", "digits", "--models", MODELS, code=1)

    assert "there is no GPU to build on" in result.story
    assert "--compute-capability 8.9" in result.story


def test_a_model_that_is_not_onnx_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    write_package(tmp_path / "models" / "same", 'backend = "reference"')
    result = terminal.appliance("engines", "build", "same", "--models", tmp_path / "models", *FOR_ADA, code=1)

    assert "there is no ONNX file to build an engine from" in result.story


def test_a_key_must_be_one(terminal: Terminal) -> None:
    key = terminal.appliance(*DIGITS, "--json").json["key"]

    assert "is no key" in terminal.appliance("engines", "show", "digits", code=1).story
    unknown = "0000" if key[:4] != "0000" else "1111"
    assert f"there is {key[:12]}" in terminal.appliance("engines", "show", unknown, code=1).story


def test_a_state_directory_without_engines_is_said_and_not_made(terminal: Terminal, tmp_path: Path) -> None:
    result = terminal.appliance("engines", "list")

    assert "there are no engines" in result.story
    assert list(terminal.state.iterdir()) == []


def test_settings_decide_how_much_is_kept(terminal: Terminal) -> None:
    settings = {"APPLIANCE_ENGINES_LARGEST_BYTES": "1000"}
    result = terminal.appliance(*DIGITS, environment=settings, code=1)

    assert "the engine cache may hold 1000" in result.story
    assert engine_files(terminal.state) == []


@pytest.mark.slow
def test_two_commands_at_the_same_time_build_it_once(terminal: Terminal, deep: Path) -> None:
    with started(terminal, deep) as first, started(terminal, deep) as second:
        ends = [process.communicate(timeout=TIMEOUT_S) for process in (first, second)]

    answers = [json.loads(out) for out, _ in ends]
    waited = ["waiting for another process" in " ".join(story.split()) for _, story in ends]
    assert sorted(answer["cached"] for answer in answers) == [False, True]
    assert waited == [answer["cached"] for answer in answers]
    assert answers[0]["digest"] == answers[1]["digest"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_build_that_is_ended_leaves_nothing(
    terminal: Terminal, deep: Path, number: signal.Signals, code: int
) -> None:
    with started(terminal, deep) as process:
        wait_for(process, "building the engine")
        children = children_of(process)
        process.send_signal(number)
        out, story = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == code, story
    assert out == ""
    assert "cancelled: " in story
    assert len(children) == 1
    assert not any(child.is_running() for child in children)
    assert engine_files(terminal.state) == []
    assert terminal.appliance("engines", "list", "--json").json == []


@pytest.mark.slow
def test_a_build_that_is_killed_leaves_nothing_and_the_next_one_succeeds(terminal: Terminal, deep: Path) -> None:
    with started(terminal, deep) as process:
        wait_for(process, "building the engine")
        (child,) = children_of(process)
        process.kill()
        process.wait(TIMEOUT_S)
    deadline_s = time.monotonic() + TIMEOUT_S
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline_s, "the builder outlived its parent"
        time.sleep(0.05)

    assert terminal.appliance("engines", "list", "--json").json == []
    assert [path.name for path in (terminal.state / "cache" / "engines").iterdir()] == ["timing"]
    answer = terminal.appliance("engines", "build", "deep", "--models", deep, *FOR_ADA, "--json").json
    assert answer["cached"] is False
    assert engine_files(terminal.state) == [f"{answer['key']}/engine"]


@pytest.mark.slow
def test_the_next_build_need_not_wait_for_the_orphan_of_a_killed_one(terminal: Terminal, deep: Path) -> None:
    with started(terminal, deep) as process:
        wait_for(process, "building the engine")
        (child,) = children_of(process)
        child.suspend()  # it is in the middle of its work
        process.kill()
        process.wait(TIMEOUT_S)
    answer = terminal.appliance("engines", "build", "deep", "--models", deep, *FOR_ADA, "--json").json
    child.resume()
    child.wait(TIMEOUT_S)

    assert answer["cached"] is False
    assert engine_files(terminal.state) == [f"{answer['key']}/engine"]
    again = terminal.appliance("engines", "build", "deep", "--models", deep, *FOR_ADA, "--json").json
    assert again["cached"] is True


def test_a_full_disk_is_said_with_what_is_needed_and_what_helps(small_disk: Path) -> None:
    result = Terminal(small_disk).appliance(*DIGITS, code=1)

    assert re.search(r"about 9 MiB needed, [01] MiB free", result.story)
    assert "appliance engines prune --largest-bytes 0" in result.story
    assert engine_files(small_disk) == []
