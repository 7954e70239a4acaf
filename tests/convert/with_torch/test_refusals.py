"""Sources that cannot be converted: each has its sentence, its next step and its exit status; nothing is written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from appliance.convert.refusal import Reason
from tests.convert.with_torch.commands import run
from tests.convert.with_torch.tiny_models import ARCHITECTURES, save

pytestmark = pytest.mark.slow
MIT = ("--licence", "MIT")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    architecture = next(each for each in ARCHITECTURES if each.name == "BERT")
    return save(architecture, tmp_path_factory.mktemp("bert") / "bert")


@pytest.fixture
def source(bert, tmp_path):
    return shutil.copytree(bert, tmp_path / "source")


def change_config(source, **fields):
    path = source / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_weights(source, change):
    weights = load_file(source / "model.safetensors")
    change(weights)
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})


def without_config(source):
    (source / "config.json").unlink()


def without_weights(source):
    (source / "model.safetensors").unlink()


def other_shapes(source):
    change_config(source, hidden_size=64)


def missing_head(source):
    change_weights(source, lambda weights: weights.pop("classifier.weight"))


def pickled(source):
    torch.save(load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    without_weights(source)


def own_code(source):
    change_config(source, auto_map={"AutoModel": "modeling.Mine"})


def nan(source):
    change_weights(source, lambda weights: weights["classifier.weight"].fill_(float("nan")))


def pickled_nan(source):
    nan(source)
    pickled(source)


def all_zero(source):
    change_weights(source, lambda weights: [weights[name].zero_() for name in weights])


def as_it_is(source):
    pass


@pytest.mark.parametrize(
    ("damage", "options", "reason", "words"),
    [
        (without_config, MIT, Reason.NO_CONFIG, "config.json"),
        (without_weights, MIT, Reason.NO_WEIGHTS, "safetensors"),
        (other_shapes, MIT, Reason.WEIGHTS_MISMATCH, "do not belong to config.json"),
        (missing_head, MIT, Reason.WEIGHTS_MISMATCH, "classifier.weight"),
        (pickled, MIT, Reason.PICKLE, "--allow-pickle"),
        (own_code, MIT, Reason.REMOTE_CODE, "code"),
        (nan, MIT, Reason.NAN_WEIGHTS, "classifier.weight"),
        (pickled_nan, (*MIT, "--allow-pickle"), Reason.NAN_WEIGHTS, "classifier.weight"),
        (all_zero, MIT, Reason.VACUOUS, "zero"),
        (as_it_is, (*MIT, "--task", "object-detection"), Reason.UNSUPPORTED_TASK, "text-classification"),
        (as_it_is, (*MIT, "--max-length", "65"), Reason.TOO_LONG, "64 tokens"),
        (as_it_is, (*MIT, "--samples", "tests/rpc"), Reason.SAMPLES, "tests/rpc"),
        (as_it_is, (*MIT, "--precision", "int8", "--calibration", "tests/rpc"), Reason.SAMPLES, "tests/rpc"),
        (as_it_is, (), Reason.NO_LICENCE, "--licence"),
        (as_it_is, ("--licence", "Apache 2"), Reason.NO_LICENCE, "Apache-2.0"),
    ],
)
def test_it_is_refused(source, tmp_path, damage, options, reason, words):
    damage(source)

    result = run("convert", str(source), "--out", str(tmp_path / "model"), *options)

    assert result.returncode == reason.value, result.stderr
    assert words in " ".join(result.stderr.split())
    assert "next: " in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_the_name_of_a_model_on_a_hub_is_refused_with_the_way_to_bring_it(tmp_path):
    result = run("convert", "sentence-transformers/all-MiniLM-L6-v2", "--out", str(tmp_path / "model"), *MIT)

    assert result.returncode == Reason.HUB_ID.value
    assert "--local-dir" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": 1}', "expected a list"),
        ("[1]", "expected objects"),
        ('[{"type": "x.Pooling", "path": "../outside"}]', "not a file of the directory"),
    ],
)
def test_a_pooling_that_cannot_be_read_is_refused(source, tmp_path, content, words):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (source / "modules.json").write_text(content)

    result = run("convert", str(source), "--out", str(tmp_path / "model"), *MIT, "--task", "feature-extraction")

    assert result.returncode == Reason.NO_CONFIG.value, result.stderr
    assert words in " ".join(result.stderr.split())


def test_a_disk_that_is_full_while_exporting_is_said(source, tmp_path):
    limited = ("bash", "-c", 'ulimit -f 64; exec "$@"', "limited")

    result = run("convert", str(source), "--out", str(tmp_path / "model"), *MIT, prefix=limited)

    assert result.returncode == Reason.DISK_FULL.value, result.stderr
    assert "TMPDIR" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_terminated_conversion_leaves_nothing(source, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [
        sys.executable,
        "-m",
        "appliance.cli.main",
        "convert",
        str(source),
        "--out",
        str(tmp_path / "model"),
        *MIT,
    ]
    with subprocess.Popen(command, env=os.environ | {"TMPDIR": str(scratch)}, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not any(scratch.iterdir()):
            time.sleep(0.01)
        process.terminate()

    assert process.returncode == 128 + signal.SIGTERM
    assert list(scratch.iterdir()) == []
    assert not (tmp_path / "model").exists()


def test_a_place_that_is_taken_is_left_as_it_is(source, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")

    result = run("convert", str(source), "--out", str(tmp_path / "model"), *MIT)

    assert result.returncode == Reason.EXISTS.value
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"


def test_pickled_weights_convert_when_they_are_trusted(source, tmp_path):
    pickled(source)

    result = run("convert", str(source), "--out", str(tmp_path / "model"), *MIT, "--allow-pickle")

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "model" / "1" / "model.onnx").exists()
