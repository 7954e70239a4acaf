"""Training on one's own pictures, and what comes of it: a package that answers."""

import json
import os
import platform
import signal
import subprocess
import sys

import grpc
import numpy as np
import onnx
import pytest
import torch
import transformers
from PIL import Image

from tests.convert.with_torch.commands import ROOT, convert, run
from tests.rpc.wire import infer, request, tensor
from tests.support.daemon import DaemonProcess

pytestmark = pytest.mark.slow


def finetune(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "finetune", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'scripts'}"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture
def stripes(tmp_path):
    """Two classes of pictures that are easy to tell apart: stripes across and stripes down."""
    random = np.random.default_rng(5)
    for name, axis in (("across", 0), ("down", 1)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(24):
            wave = 127 + 100 * np.sin(np.arange(16) * random.uniform(1.0, 2.0) + random.uniform(0, 6))
            pixels = np.repeat(np.expand_dims(wave, 1 - axis), 16, axis=1 - axis)
            Image.fromarray((pixels + random.normal(0, 5, (16, 16))).clip(0, 255).astype(np.uint8)).save(
                tmp_path / "pictures" / name / f"{number}.png"
            )
    return tmp_path / "pictures"


def test_digits_are_learnt_converted_and_read_from_a_picture(tmp_path):
    trained = finetune("--out", tmp_path / "digits", "--epochs", 8)
    assert trained.returncode == 0, trained.stderr

    samples = ("--samples", str(tmp_path / "digits" / "samples"), "--licence", "Apache-2.0")
    document = convert(tmp_path / "digits", tmp_path / "packages" / "digits", *samples)

    assert float(trained.stdout.split()[-1].rstrip("%")) > 97
    assert document["samples_are_real"] is True
    said = (tmp_path / "packages" / "digits" / "source-card.md").read_text()
    assert said == (tmp_path / "digits" / "README.md").read_text()
    assert "CC BY 4.0" in said
    assert document["model"]["labels"] == list("0123456789")
    # The processor makes pictures of one size, so the graph takes no other, though the network would.
    assert set(document["graphs"][0]["profiles"]["pixel_values"]["max"][2:]) == {32}
    picture = min((tmp_path / "digits" / "samples").glob("*-7.png"))
    with DaemonProcess(tmp_path / "packages") as daemon:
        answer = run("infer", "digits", "--input", f"pixel_values={picture}", "--address", daemon.address, "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["outputs"][0]["classes"][0][0]["label"] == "7"


@pytest.mark.root
def test_digits_learnt_and_converted_where_no_network_leads_anywhere_answer_as_pytorch_does(sinkhole, tmp_path):
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    source, samples = out / "digits", out / "digits" / "samples"
    training = ["-m", "finetune", "--out", source, "--epochs", 4]
    converting = ["-m", "appliance.cli.main", "convert", source, "--out", out / "packages" / "digits"]
    environment = {"TMPDIR": str(scratch), "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT / "scripts")}

    for arguments in (training, [*converting, "--samples", samples, "--licence", "Apache-2.0"]):
        command = [sys.executable, *map(str, arguments)]
        outcome = sinkhole(command, writable=[out, scratch], environment=environment, timeout_s=240)
        assert outcome.returncode == 0, outcome.output
        assert (outcome.events, outcome.written, outcome.survivors) == ((), (), ()), outcome.output

    pictures = [np.asarray(Image.open(path))[None] for path in sorted(samples.glob("*.png"))[:8]]
    processor = transformers.AutoImageProcessor.from_pretrained(source, local_files_only=True)
    pixels = processor(pictures, return_tensors="np", input_data_format="channels_first")["pixel_values"]
    model = transformers.AutoModelForImageClassification.from_pretrained(source, local_files_only=True).eval()
    with torch.inference_mode():
        wanted = model(torch.from_numpy(pixels)).logits.numpy()
    with DaemonProcess(out / "packages") as daemon, grpc.insecure_channel(daemon.address) as channel:
        answer = infer(channel, request("digits", [tensor("pixel_values", "FP32", pixels.shape)], [pixels.tobytes()]))
    served = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(wanted.shape)
    np.testing.assert_allclose(served, wanted, atol=1e-4)


def test_the_shipped_digits_model_is_what_training_and_converting_give(tmp_path):
    train = [sys.executable, ROOT / "scripts" / "train-models", "--only", "digits", "--json"]
    made = subprocess.run([*train, "--out", tmp_path], capture_output=True, text=True, timeout=280, check=False)
    assert made.returncode == 0, made.stderr
    package, shipped = tmp_path / "digits", ROOT / "models" / "digits"
    tools = [json.loads((each / "provenance.json").read_text())["tool_versions"] for each in (package, shipped)]

    assert json.loads(made.stdout)["digits"]["accuracy"] >= 0.985
    made_files, shipped_files = files_below(package), files_below(shipped)
    assert made_files.keys() == shipped_files.keys()
    if tools[0] == tools[1] and platform.machine() == "x86_64":
        # The trained weights are the same on every processor, hence what was said of them and every choice. What
        # follows from them by arithmetic differs in the last bits, and what was measured in more.
        assert without_arithmetic(package) == without_arithmetic(shipped)
        different = {name for name, content in made_files.items() if shipped_files[name] != content}
        answers = {name for name in made_files if ".output" in name}
        assert different <= MEASURED | answers
        assert all(close(np.load(package / name), np.load(shipped / name)) for name in answers)
        graphs = [onnx.load(each / "1" / "model.onnx").graph for each in (package, shipped)]
        assert [node.SerializeToString() for node in graphs[0].node] == [
            node.SerializeToString() for node in graphs[1].node
        ]
        assert all(
            close(onnx.numpy_helper.to_array(one), onnx.numpy_helper.to_array(other))
            for one, other in zip(graphs[0].initializer, graphs[1].initializer, strict=True)
        )


MEASURED = {"conversion.html", "conversion.json", "card.md", "provenance.json", "golden/golden.toml", "1/model.onnx"}


def close(found, expected):
    """PyTorch's export folds normalisation into convolutions with square roots that are not rounded correctly."""
    return np.allclose(found, expected, rtol=1e-5, atol=1e-5)


def without_arithmetic(package):
    """What a package says of its origin, with the digests of the trained weights and without those of the graph."""
    return json.loads((package / "provenance.json").read_text()) | {"validation": None, "onnx": None}


def files_below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_pictures_give_the_same_weights(stripes, tmp_path):
    for name in ("one", "two"):
        assert finetune("--out", tmp_path / name, "--data", stripes, "--epochs", 3).returncode == 0

    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (
        tmp_path / "two" / "model.safetensors"
    ).read_bytes()


def test_own_pictures_are_learnt_and_training_goes_on_from_a_base(stripes, tmp_path):
    first = finetune("--out", tmp_path / "base", "--data", stripes, "--epochs", 12)
    second = finetune("--out", tmp_path / "more", "--data", stripes, "--epochs", 4, "--base", tmp_path / "base")

    assert second.returncode == 0, second.stderr
    assert json.loads((tmp_path / "more" / "config.json").read_text())["id2label"] == {"0": "across", "1": "down"}
    assert float(second.stdout.split()[-1].rstrip("%")) == 100, first.stdout


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda folder: (folder / "down").rename(folder.parent / "gone"), "expected one for each class"),
        (lambda folder: [path.unlink() for path in list((folder / "down").iterdir())[3:]], "expected at least 4"),
        (lambda folder: (folder / "down" / "0.png").write_text("no picture"), "cannot be read"),
    ],
)
def test_pictures_that_cannot_be_learnt_are_refused(stripes, tmp_path, prepare, words):
    prepare(stripes)

    result = finetune("--out", tmp_path / "model", "--data", stripes)

    assert result.returncode == 1
    assert words in result.stderr
    assert "next: " in result.stderr
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "cannot be the base"),
        ({"model_type": "vit", "num_channels": 1}, "found vit of 1 channels, expected resnet of 1"),
        ({"model_type": "resnet", "num_channels": 3}, "found resnet of 3 channels, expected resnet of 1"),
    ],
)
def test_another_kind_of_network_is_no_base(stripes, tmp_path, config, words):
    (tmp_path / "base").mkdir()
    if config:
        (tmp_path / "base" / "config.json").write_text(json.dumps(config))

    result = finetune("--out", tmp_path / "model", "--data", stripes, "--base", tmp_path / "base")

    assert result.returncode == 1
    assert words in result.stderr
    assert not (tmp_path / "model").exists()


def test_only_the_owner_of_the_pictures_says_under_which_licence_the_weights_are(stripes, tmp_path):
    result = finetune("--out", tmp_path / "model", "--data", stripes, "--epochs", 1)

    assert "license" not in (tmp_path / "model" / "README.md").read_text()
    assert "--licence LicenseRef-Own" in result.stderr


def test_an_interrupt_leaves_nothing(stripes, tmp_path):
    command = [sys.executable, "-m", "finetune", "--out", tmp_path / "out" / "model", "--data", stripes]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'scripts'}"}
    child = subprocess.Popen(
        [*map(str, command), "--epochs", "500"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    for line in child.stderr:
        if line.startswith("pass 2/"):
            child.send_signal(signal.SIGINT)
            break
    story = child.communicate(timeout=60)[1]

    assert child.returncode == 130
    assert "stopped; nothing was written" in story
    assert not (tmp_path / "out").exists()
