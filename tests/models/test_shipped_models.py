"""The shipped packages answer as recorded, carry the numbers that training gives, and training is repeatable."""

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
NAMES = ("breast-cancer", "digits")

each_model = pytest.mark.parametrize("name", NAMES)


@each_model
def test_the_graph_takes_a_batch_n_of_rows_and_gives_one_probability_per_label(name: str) -> None:
    session = load(name)

    (answered,) = session.get_outputs()
    assert session.get_inputs()[0].shape[0] == "N"
    assert answered.name == "probabilities"
    assert answered.shape == ["N", len(labels(name))]


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
        probabilities = arrays(name, sample["outputs"])["probabilities"]

        assert labels(name)[int(probabilities.argmax())] == sample["answer"]


@each_model
def test_a_batch_of_golden_samples_gives_the_same_rows_as_each_alone(name: str) -> None:
    golden = golden_file(name)
    alone = [arrays(name, sample["outputs"])["probabilities"] for sample in golden["sample"]]
    inputs = [arrays(name, sample["inputs"]) for sample in golden["sample"]]
    batch = {key: np.concatenate([row[key] for row in inputs]) for key in inputs[0]}

    together = load(name).run(["probabilities"], batch)[0]

    np.testing.assert_allclose(together, np.concatenate(alone), rtol=golden["rtol"], atol=golden["atol"])


@each_model
def test_the_recorded_digest_is_that_of_the_model(name: str) -> None:
    content = (MODELS / name / "1" / "model.onnx").read_bytes()

    assert hashlib.sha256(content).hexdigest() == provenance(MODELS, name)["onnx_sha256"]


@each_model
def test_the_card_names_the_measured_accuracy_and_the_licence_of_the_data(name: str) -> None:
    card = (MODELS / name / "card.md").read_text()

    assert f"{provenance(MODELS, name)['metrics']['accuracy']:.2%}" in card
    assert "CC BY 4.0" in card


def test_the_picture_of_a_seven_is_read_as_seven() -> None:
    with Image.open(MODELS / "digits" / "golden" / "seven.png") as picture:
        image = np.asarray(picture, dtype=np.float32)[np.newaxis, np.newaxis] / 255

    probabilities = load("digits").run(["probabilities"], {"image": image})[0]

    assert labels("digits")[int(probabilities.argmax())] == "7"


def test_the_packages_stay_below_one_megabyte() -> None:
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) < 1_000_000


@pytest.mark.slow
def test_training_again_gives_the_shipped_models(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "train-models", "--out", tmp_path], check=True)

    for name in NAMES:
        again, shipped = provenance(tmp_path, name), provenance(MODELS, name)
        assert shares(again["metrics"]) == pytest.approx(shares(shipped["metrics"]), abs=0.02)
        assert again["data"] == shipped["data"]
        if again["tool_versions"] == shipped["tool_versions"]:
            assert again["onnx_sha256"] == shipped["onnx_sha256"]


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
