"""How often an ONNX file of a package is right on pictures that its network had not seen."""

from pathlib import Path

import numpy as np

from appliance.backends.onnxruntime import open_session
from finetune.data import Labelled


def accuracy(file: Path, examples: Labelled) -> float:
    """Share of right answers in ONNX Runtime on the CPU."""
    images, classes = examples.arrays()
    (logits,) = open_session(file).run(["logits"], {"pixel_values": images})
    return float(np.mean(logits.argmax(axis=1) == classes))
