"""The shipped packages answer as recorded, carry the numbers that training gives, and training is repeatable."""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from tests.convert.forms import digit_images

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
OUTPUTS = {"breast-cancer": "probabilities", "digits": "logits"}

each_model = pytest.mark.parametrize("name", OUTPUTS)


@each_model
def test_the_graph_takes_a_batch_of_rows_and_gives_one_value_per_label(name: str) -> None:
    session = load(name)

    (answered,) = session.get_outputs()
    assert isinstance(session.get_inputs()[0].shape[0], str)
    assert answered.name == OUTPUTS[name]
    assert answered.shape[1:] == [len(labels(name))]


@each_model
def test_every_golden_sample_is_reproduced_within_its_tolerance(name: str) -> None:
    session, golden = load(name), golden_file(name)

    assert len(golden["sample"]) >= 4
    for sample in golden["sample"]:
        answered = session.run(list(sample["outputs"]), arrays(name, sample["inputs"]))
        for found, expected in zip(answered, arrays(name, sample["outputs"]).values(), strict=True):
            np.testing.assert_allclose(found, expected, rtol=golden["rtol"], atol=golden["atol"])


@each_model
def test_every_golden_sample_is_answered_with_its_true_label(name: str) -> None:
    for sample in golden_file(name)["sample"]:
        scores = arrays(name, sample["outputs"])[OUTPUTS[name]]

        assert labels(name)[int(scores.argmax())] == sample["answer"]


def test_the_golden_digits_are_the_first_four_by_the_names_of_their_pictures() -> None:
    samples = golden_file("digits")["sample"]

    assert [sample["name"].split("-")[1] for sample in samples] == [sample["answer"] for sample in samples]
    assert [sample["answer"] for sample in samples] == ["0", "1", "2", "3"]


@each_model
def test_a_batch_of_golden_samples_gives_the_same_rows_as_each_alone(name: str) -> None:
    golden = golden_file(name)
    alone = [arrays(name, sample["outputs"])[OUTPUTS[name]] for sample in golden["sample"]]
    inputs = [arrays(name, sample["inputs"]) for sample in golden["sample"]]
    batch = {key: np.concatenate([row[key] for row in inputs]) for key in inputs[0]}

    together = load(name).run([OUTPUTS[name]], batch)[0]

    np.testing.assert_allclose(together, np.concatenate(alone), rtol=golden["rtol"], atol=golden["atol"])


@each_model
def test_the_recorded_digest_is_that_of_the_model(name: str) -> None:
    digest = hashlib.sha256((MODELS / name / "1" / "model.onnx").read_bytes()).hexdigest()

    recorded = provenance(MODELS, name)
    assert digest == recorded.get("onnx_sha256") or recorded["onnx"] == {"1/model.onnx": f"sha256:{digest}"}


def test_the_card_names_the_measured_accuracy_and_the_licence_of_the_data() -> None:
    card = (MODELS / "breast-cancer" / "card.md").read_text()

    assert f"{provenance(MODELS, 'breast-cancer')['metrics']['accuracy']:.2%}" in card
    assert "CC BY 4.0" in card


def test_the_digits_card_names_the_accuracy_that_is_measured_here_and_the_licence_of_the_data() -> None:
    said = (MODELS / "digits" / "source-card.md").read_text()
    images, digits = unseen_digits()
    found = np.mean(load("digits").run(["logits"], {"pixel_values": images})[0].argmax(axis=1) == digits)

    assert found >= 0.99
    # Another processor's arithmetic may move a picture across the boundary.
    assert float(re.search(r"accuracy ([\d.]+)%", said)[1]) / 100 == pytest.approx(found, abs=1.5 / len(digits))
    assert "CC BY 4.0" in said


def test_the_picture_of_a_seven_is_read_as_seven() -> None:
    with Image.open(MODELS / "digits" / "golden" / "seven.png") as picture:
        image = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR), dtype=np.float32) / 255

    logits = load("digits").run(["logits"], {"pixel_values": image[np.newaxis, np.newaxis]})[0]

    assert labels("digits")[int(logits.argmax())] == "7"


def test_the_packages_stay_below_one_megabyte() -> None:
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) < 1_000_000


@pytest.mark.slow
def test_training_again_gives_the_shipped_model(tmp_path: Path) -> None:
    """Of breast-cancer; digits needs the environment of the converter."""
    command = [sys.executable, ROOT / "scripts" / "train-models", "--only", "breast-cancer", "--out", tmp_path]
    subprocess.run(command, check=True)

    again, shipped = provenance(tmp_path, "breast-cancer"), provenance(MODELS, "breast-cancer")
    assert shares(again["metrics"]) == pytest.approx(shares(shipped["metrics"]), abs=0.02)
    assert again["data"] == shipped["data"]
    if again["tool_versions"] == shipped["tool_versions"]:
        assert again["onnx_sha256"] == shipped["onnx_sha256"]


def unseen_digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The quarter that training leaves out: FP32 [450, 1, 32, 32] and their digits."""
    digits = load_digits().target
    _, rows = train_test_split(np.arange(len(digits)), test_size=0.25, stratify=digits, random_state=20240601)
    return digit_images()[rows], digits[rows]


def load(name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        MODELS / name / "1" / "model.onnx", options, providers=["CPUExecutionProvider"]
    )


def labels(name: str) -> list[str]:
    return (MODELS / name / "labels.txt").read_text().splitlines()


def golden_file(name: str) -> dict[str, Any]:
    return tomllib.loads((MODELS / name / "golden" / "golden.toml").read_text())


def arrays(name: str, files: dict[str, str]) -> dict[str, np.ndarray[Any, Any]]:
    return {key: np.load(MODELS / name / "golden" / file) for key, file in files.items()}


def shares(metrics: dict[str, float]) -> dict[str, float]:
    """Other processors and tool versions may move a row across the boundary: counts are left out."""
    return {key: value for key, value in metrics.items() if isinstance(value, float)}


def provenance(models: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((models / name / "provenance.json").read_text())
    return content
