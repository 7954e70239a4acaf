"""The model `digits`: a handwritten digit to ten logits, made by the commands with which anyone makes a model."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from finetune.accuracy import accuracy
from finetune.data import digits
from finetune.pinned import PINNED

ROOT = Path(__file__).resolve().parents[2]
LICENCE = "Apache-2.0"
MAX_BATCH_SIZE = 64
PURPOSE = "A small model with real weights and real data: to try the appliance, to check an installation."
ORIGIN = "none: trained from nothing by scripts/train-models --only digits"
WHEN_S = (
    "1795392000"  # 2026-11-23: the package names the day of the first training, so that later ones give its bytes
)
PICTURE = "007-7.png"  # of the samples: one that people can look at and ask with


def write(folder: Path) -> Mapping[str, float]:
    """Train, convert, replace what is in `folder`, and return what was measured."""
    with TemporaryDirectory(prefix="train-models-") as scratch:
        source, package = Path(scratch) / "source" / "digits", Path(scratch) / "digits"
        _run(ROOT / "scripts" / "finetune-digits", "--out", source)
        _convert(source, package)
        shutil.copyfile(source / "samples" / PICTURE, package / "golden" / "seven.png")
        metrics = {"accuracy": round(accuracy(package / "1" / "model.onnx", digits().test), 4)}
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(package, folder)
    return metrics


def _convert(source: Path, package: Path) -> None:
    """FP32 only: which other form is chosen depends on measured times."""
    _run(
        ROOT / ".venv-convert" / "bin" / "appliance",
        "convert", source,
        "--out", package,
        "--samples", source / "samples",
        "--licence", LICENCE,
        "--max-batch-size", MAX_BATCH_SIZE,
        "--intended-use", PURPOSE,
        "--base-model", ORIGIN,
        "--author", "the makers of the appliance",
    )  # fmt: skip


def _run(program: Path, *arguments: object) -> None:
    environment = {"SOURCE_DATE_EPOCH": WHEN_S} | os.environ | PINNED
    subprocess.run([program, *map(str, arguments)], env=environment, check=True, stdout=subprocess.DEVNULL)
