"""Real models that others made, served as they come: one ONNX file in a version directory and nothing else."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image, ImageDraw, ImageFont

from appliance.backends.onnxruntime import open_session
from tests.support.daemon import ROOT, DaemonProcess

MODELS = {
    "file-type": ("magika", "models/standard_v3_3/model.onnx"),
    "speech": ("silero_vad", "data/silero_vad.onnx"),
    "text-detection": ("rapidocr", "models/PP-OCRv6_det_small.onnx"),
}


def packaged(name: str) -> Path:
    package, relative = MODELS[name]
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed: scripts/setup dev"
    return Path(spec.submodule_search_locations[0]) / relative


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    for name in MODELS:
        (models / name / "1").mkdir(parents=True)
        shutil.copy(packaged(name), models / name / "1" / "model.onnx")
    with DaemonProcess(models) as daemon:
        connection = triton.InferenceServerClient(daemon.address)
        yield connection
        connection.close()


def infer(client, model, arrays):
    names = {np.dtype("f4"): "FP32", np.dtype("i4"): "INT32", np.dtype("i8"): "INT64"}
    inputs = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, array.shape, names[array.dtype])
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return client.infer(model, inputs)


def file_features(path: Path) -> np.ndarray:
    """The first and last 1024 bytes without surrounding white space, padded with 256 (the model's own rule)."""
    data = path.read_bytes()
    head, tail = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
    padded = [*head, *[256] * (1024 - len(head)), *[256] * (1024 - len(tail)), *tail]
    return np.array([padded], dtype=np.int32)


def test_all_three_are_served_without_a_configuration(client):
    for name in MODELS:
        assert client.is_model_ready(name)

    assert client.get_model_config("file-type").config.max_batch_size == 4
    assert client.get_model_config("speech").config.max_batch_size == 0


def test_file_types_of_this_repository_are_told_right(client):
    labels = json.loads((packaged("file-type").parent / "config.min.json").read_text())["target_labels_space"]
    files = {
        "README.md": "markdown",
        "appliance/daemon/app.py": "python",
        "pyproject.toml": "toml",
        "protos/grpc_service.proto": "proto",
        "scripts/run": "shell",
        "models/digits/golden/seven.png": "png",
        "models/digits/1/model.onnx": "onnx",
    }

    told = {}
    for file in files:
        answer = infer(client, "file-type", {"bytes": file_features(ROOT / file)})
        told[file] = labels[int(answer.as_numpy("target_label").argmax())]

    assert sum(told[file] == kind for file, kind in files.items()) >= len(files) - 1, told


def test_a_model_with_state_goes_on_where_it_was(client):
    """Chunk by chunk through the wire, the state handed back each time, against the same model in this process."""
    generator = np.random.default_rng(7)
    time_s = np.arange(576 * 20) / 16000
    hum = np.sin(2 * np.pi * 140 * time_s) * np.sin(2 * np.pi * 3 * time_s)
    signal = (hum + 0.05 * generator.standard_normal(time_s.size)).astype(np.float32)
    session = open_session(packaged("speech"))
    rate = np.array(16000, dtype=np.int64)
    state = expected_state = np.zeros((2, 1, 128), dtype=np.float32)

    for chunk in signal.reshape(20, 1, 576):
        answer = infer(client, "speech", {"input": chunk, "state": state, "sr": rate})
        state = answer.as_numpy("stateN")
        expected, expected_state = session.run(None, {"input": chunk, "state": expected_state, "sr": rate})

        assert np.allclose(answer.as_numpy("output"), expected, atol=1e-6)
        assert np.allclose(state, expected_state, atol=1e-6)


def test_text_is_found_where_it_stands(client):
    page = Image.new("RGB", (320, 160), "white")
    ImageDraw.Draw(page).text((40, 90), "DO NOT OPEN", fill="black", font=ImageFont.load_default(32))
    pixels = (np.asarray(page, dtype=np.float32) / 255 - 0.5) / 0.5

    answer = infer(client, "text-detection", {"x": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])})
    found = answer.as_numpy(answer.get_response().outputs[0].name)[0, 0]

    assert found.shape == (160, 320)
    assert found[95:120, 60:220].max() > 0.6
    assert found[:60].max() < 0.3
