"""Plain ONNX files, torch.export programs and scikit-learn models as sources, through the command."""

import hashlib
import importlib.util
import json
import pickle
from pathlib import Path

import joblib
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from appliance.convert.refusal import Reason
from tests.convert.with_torch.commands import convert, run
from tests.support import onnx_models
from tests.support.daemon import DaemonProcess

pytestmark = pytest.mark.slow
MIT = ("--licence", "MIT")
TRUSTED = (*MIT, "--allow-pickle")


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.convolution = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.dense = torch.nn.Linear(8, 10)

    def forward(self, image):
        return self.dense(torch.relu(self.convolution(image)).mean((2, 3)))


@pytest.fixture
def program(tmp_path):
    batch = torch.export.Dim("batch", min=1, max=64)
    found = torch.export.export(Network().eval(), (torch.rand(2, 1, 8, 8),), dynamic_shapes={"image": {0: batch}})
    torch.export.save(found, tmp_path / "network.pt2")
    return tmp_path / "network.pt2"


def session(package):
    return onnxruntime.InferenceSession(package / "1" / "model.onnx")


def test_a_torch_program_converts_and_answers_alike(program, tmp_path):
    convert(program, tmp_path / "network", *TRUSTED)

    images = np.random.default_rng(3).random((5, 1, 8, 8), dtype=np.float32)
    (found,) = session(tmp_path / "network").run(None, {"image": images})
    with torch.inference_mode():
        wanted = Network().eval()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_torch_program_leaves_no_trace_of_the_workstation_and_gives_the_same_bytes(program, tmp_path):
    convert(program, tmp_path / "one" / "network", *TRUSTED)
    convert(program, tmp_path / "two" / "network", *TRUSTED)

    first, second = ((tmp_path / name / "network" / "1" / "model.onnx").read_bytes() for name in ("one", "two"))
    assert first == second
    assert b"test_other_sources" not in first
    assert b"Network" not in first


CANCER, DIGITS = load_breast_cancer(), load_digits()
CLASSIFIERS = {
    "logistic": (make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), CANCER),
    "forest": (RandomForestClassifier(n_estimators=20, random_state=1), CANCER),
    "svc": (make_pipeline(StandardScaler(), SVC()), CANCER),
    "forest-of-digits": (RandomForestClassifier(n_estimators=20, random_state=1), DIGITS),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_converts_with_equal_accuracy_on_real_data(name, tmp_path):
    model, data = CLASSIFIERS[name]
    train, test, train_classes, test_classes = train_test_split(data.data, data.target, random_state=0)
    model.fit(train, train_classes)
    joblib.dump(model, tmp_path / "model.joblib")
    (tmp_path / "samples").mkdir()
    np.save(tmp_path / "samples" / "rows.npy", test[:64].astype(np.float32))

    document = convert(tmp_path / "model.joblib", tmp_path / name, *TRUSTED, "--samples", str(tmp_path / "samples"))

    found = session(tmp_path / name).run(["label"], {"features": test.astype(np.float32)})[0]
    assert document["samples_are_real"] is True
    assert np.mean(found == test_classes) == pytest.approx(model.score(test, test_classes), abs=1e-9)


def test_string_classes_are_served_as_labels(tmp_path):
    names = CANCER.target_names[CANCER.target]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(CANCER.data, names)
    joblib.dump(model, tmp_path / "model.joblib")

    convert(tmp_path / "model.joblib", tmp_path / "packages" / "tumour", *TRUSTED)

    assert (tmp_path / "packages" / "tumour" / "labels.txt").read_text().split() == ["benign", "malignant"]
    with DaemonProcess(tmp_path / "packages") as daemon:
        result = run("selftest", "--models", str(tmp_path / "packages"), "--address", daemon.address, "--json")
    assert result.returncode == 0, result.stderr
    assert all(finding["ok"] for finding in json.loads(result.stdout))


def test_a_regressor_converts(tmp_path):
    model = GradientBoostingRegressor(n_estimators=20, random_state=1).fit(CANCER.data[:, :5], CANCER.data[:, 5])
    joblib.dump(model, tmp_path / "model.joblib")

    convert(tmp_path / "model.joblib", tmp_path / "regressor", *TRUSTED)

    rows = CANCER.data[:50, :5].astype(np.float32)
    (found,) = session(tmp_path / "regressor").run(None, {"features": rows})
    np.testing.assert_allclose(found[:, 0], model.predict(rows), rtol=1e-3, atol=1e-4)


class Marker:
    """A pickle that leaves a file when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("suffix", ["joblib", "pkl"])
def test_a_pickle_is_not_opened_unless_it_is_trusted(tmp_path, suffix):
    source = tmp_path / f"model.{suffix}"
    source.write_bytes(pickle.dumps(Marker(str(tmp_path / "was-opened"))))

    result = run("convert", str(source), "--out", str(tmp_path / "model"), *MIT)

    assert result.returncode == Reason.PICKLE.value
    assert not (tmp_path / "was-opened").exists()


def test_a_torch_program_is_not_opened_unless_it_is_trusted(program, tmp_path):
    result = run("convert", str(program), "--out", str(tmp_path / "model"), *MIT)

    assert result.returncode == Reason.PICKLE.value


def test_an_unfitted_model_is_refused(tmp_path):
    joblib.dump(LogisticRegression(), tmp_path / "model.joblib")

    result = run("convert", str(tmp_path / "model.joblib"), "--out", str(tmp_path / "model"), *TRUSTED)

    assert result.returncode == Reason.UNSUPPORTED_ARCHITECTURE.value
    assert "fitted" in result.stderr


def test_a_plain_onnx_file_becomes_a_package_with_int8_for_the_cpu(tmp_path):
    onnx_models.write_cnn(tmp_path / "cnn.onnx")

    document = convert(tmp_path / "cnn.onnx", tmp_path / "cnn", *MIT, "--precision", "int8")

    forms = {variant["form"]: variant for variant in document["variants"]}
    assert set(forms) == {"fp32", "int8-dynamic", "int8-cpu", "int8-tensorrt"}
    assert sum(variant["chosen"] for variant in forms.values()) == 1
    assert forms["int8-cpu"]["size_bytes"] < forms["fp32"]["size_bytes"]
    assert run("models", "add", str(tmp_path / "cnn"), "--state", str(tmp_path / "state")).returncode == 0


def test_weights_beside_an_onnx_file_are_part_of_its_provenance(tmp_path):
    onnx_models.write_mlp(tmp_path / "inline.onnx", (16, 8))
    model = onnx.load(tmp_path / "inline.onnx")
    onnx.save(model, tmp_path / "mlp.onnx", save_as_external_data=True, location="mlp.bin", size_threshold=0)

    document = convert(tmp_path / "mlp.onnx", tmp_path / "mlp", *MIT)

    digest = hashlib.sha256((tmp_path / "mlp.bin").read_bytes()).hexdigest()
    assert document["source"]["files"]["mlp.bin"] == f"sha256:{digest}"


def test_a_broken_onnx_file_is_refused_with_the_runtime_s_reason(tmp_path):
    onnx_models.write_cnn(tmp_path / "cnn.onnx")
    whole = (tmp_path / "cnn.onnx").read_bytes()
    (tmp_path / "cnn.onnx").write_bytes(whole[: len(whole) // 2])

    result = run("convert", str(tmp_path / "cnn.onnx"), "--out", str(tmp_path / "model"), *MIT)

    assert result.returncode == Reason.EXPORT_FAILED.value
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("rows.csv", "1,2\n3,4\n", "has shape"),
        ("rows.csv", "a,b\n", "cannot be read"),
        ("rows.npy", "not an array", "cannot be read"),
        ("notes.md", "no arrays here", "holds no arrays"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path, file, content, words):
    onnx_models.write_mlp(tmp_path / "mlp.onnx", (16, 8))
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / file).write_text(content)
    options = ("--samples", str(tmp_path / "samples"))

    result = run("convert", str(tmp_path / "mlp.onnx"), "--out", str(tmp_path / "model"), *MIT, *options)

    assert result.returncode == Reason.SAMPLES.value, result.stderr
    assert words in " ".join(result.stderr.split())


@pytest.fixture
def silero():
    """A voice detector with state: one input without axes, one whose axis 0 is not the batch."""
    package = importlib.util.find_spec("silero_vad")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "data" / "silero_vad.onnx"


def test_a_stateful_model_converts_on_real_inputs(silero, tmp_path):
    (tmp_path / "samples").mkdir()
    random = np.random.default_rng(11)
    for number in range(3):
        sound = np.sin(np.arange(576) * random.uniform(0.05, 0.3)).astype(np.float32)
        state = np.zeros((2, 1, 128), np.float32)
        np.savez(tmp_path / "samples" / f"{number}.npz", input=sound, state=state, sr=np.int64(16000))

    document = convert(silero, tmp_path / "vad", *MIT, "--samples", str(tmp_path / "samples"))

    assert document["validation"]["within_tolerance"] is True
    assert "max_batch_size = 0" in (tmp_path / "vad" / "model.toml").read_text()


def test_a_model_that_made_inputs_do_not_fit_asks_for_real_ones(silero, tmp_path):
    result = run("convert", str(silero), "--out", str(tmp_path / "vad"), *MIT)

    assert result.returncode == Reason.SAMPLES.value
    assert "--samples" in result.stderr
    assert "Traceback" not in result.stderr
