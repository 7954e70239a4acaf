"""A model with real data for the tests of other forms: the shipped digits network and scikit-learn's digits."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from appliance.backends.onnxruntime import open_session
from appliance.convert.samples import Sample

DIGITS = Path(__file__).parents[2] / "models/digits/1/model.onnx"


@cache
def digit_images():
    """FP32 [1797, 1, 32, 32] in 0..1, enlarged as the package's image processor does it."""
    pictures = [Image.fromarray(np.round(image * 255 / 16).astype(np.uint8)) for image in load_digits().images]
    pixels = [np.asarray(each.resize((32, 32), Image.Resampling.BILINEAR)) for each in pictures]
    return np.stack(pixels).astype(np.float32)[:, None] / 255


def digit_samples(count=100):
    images = digit_images()
    return [Sample(f"digit {index}", {"pixel_values": images[index : index + 1]}) for index in range(count)]


def random_samples(count, *shape):
    random = np.random.default_rng(3)
    return [
        Sample(str(index), {"INPUT0": random.standard_normal((1, *shape)).astype(np.float32)})
        for index in range(count)
    ]


def answers(file, **inputs):
    return open_session(file).run(None, inputs)[0]
