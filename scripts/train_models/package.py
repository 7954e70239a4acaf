"""A trained model as a package on disk: model, configuration, labels, card, provenance and golden samples.

Nothing written depends on the time, the host or the folder, so the same training gives the same bytes.
"""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from threadpoolctl import threadpool_info

from train_models.classifier import OUTPUT, Array, predict

LICENCE = "Apache-2.0"
VERSION = "1"
TOOLS = ("numpy", "onnx", "onnxruntime", "scikit-learn", "scipy")

CONFIGURATION = """\
max_batch_size = 64
description = "{description}"
licence = "{licence}"

[dynamic_batching]
max_queue_delay_microseconds = 0

[[output]]
name = "{output}"
label_filename = "labels.txt"

[[instance_group]]
count = 1
kind = "KIND_CPU"
"""

SAMPLE = """
[[sample]]
name = "{name}"
inputs = {{ {input_name} = "{name}.{input_name}.npy" }}
outputs = {{ {output} = "{name}.{output}.npy" }}
answer = "{answer}"
"""


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where the rows come from; arrays: as loaded, to be named by digest."""

    name: str
    source: str
    licence: str
    arrays: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class GoldenSample:
    """x: one row with batch dimension 1, float32; answer: its true label."""

    name: str
    x: Array
    answer: str


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """Everything that is written for one model."""

    name: str
    description: str
    input_name: str
    model: onnx.ModelProto
    labels: Sequence[str]
    data: DataSource
    options: Mapping[str, Any]
    metrics: Mapping[str, Any]
    samples: Sequence[GoldenSample]
    card: str


def write_package(package: ModelPackage, folder: Path) -> None:
    """Write the package into `folder`, over the files of the same name."""
    golden = folder / "golden"
    version_folder = folder / VERSION
    for needed in (version_folder, golden):
        needed.mkdir(parents=True, exist_ok=True)
    content = package.model.SerializeToString(deterministic=True)
    (version_folder / "model.onnx").write_bytes(content)
    (folder / "model.toml").write_text(
        CONFIGURATION.format(description=package.description, licence=LICENCE, output=OUTPUT)
    )
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in package.labels))
    (folder / "card.md").write_text(package.card)
    (folder / "provenance.json").write_text(json.dumps(provenance(package, content), indent=2) + "\n")
    write_samples(package, golden)


def provenance(package: ModelPackage, content: bytes) -> dict[str, Any]:
    """Where the model comes from, for machines."""
    arrays = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in package.data.arrays.items()}
    return {
        "name": package.name,
        "version": VERSION,
        "licence": LICENCE,
        "base_model": None,
        "data": {
            "name": package.data.name,
            "source": package.data.source,
            "sha256": arrays,
            "licence": package.data.licence,
        },
        "script": f"scripts/train-models --only {package.name}",
        "tool_versions": tool_versions(),
        "options": package.options,
        "metrics": package.metrics,
        "onnx_sha256": hashlib.sha256(content).hexdigest(),
    }


def tool_versions() -> dict[str, str]:
    """What the bytes of a trained model depend on, besides data and options."""
    kernels = {pool["architecture"] for pool in threadpool_info() if pool["internal_api"] == "openblas"}
    python = ".".join(platform.python_version_tuple()[:2])
    return {
        "python": python,
        **{name: metadata.version(name) for name in TOOLS},
        "openblas_kernels": " ".join(sorted(kernels)),
    }


def write_samples(package: ModelPackage, golden: Path) -> None:
    """Write each sample's input and the output that ONNX Runtime gives for it.

    Raises ValueError if a sample is not answered with its true label.
    """
    text = "rtol = 1e-4\natol = 1e-5\n"
    for sample in package.samples:
        probabilities = predict(package.model, sample.x)
        require_answer(package, sample.name, probabilities, sample.answer)
        np.save(golden / f"{sample.name}.{package.input_name}.npy", sample.x)
        np.save(golden / f"{sample.name}.{OUTPUT}.npy", probabilities)
        text += SAMPLE.format(name=sample.name, input_name=package.input_name, output=OUTPUT, answer=sample.answer)
    (golden / "golden.toml").write_text(text)


def require_answer(package: ModelPackage, name: str, probabilities: Array, answer: str) -> None:
    found = package.labels[int(probabilities[0].argmax())]
    if found != answer:
        raise ValueError(f"{package.name}: sample {name} is answered {found}, not {answer}")
