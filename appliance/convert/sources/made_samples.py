"""Inputs made by the converter where the person brought none: sentences, drawings and sounds. Deterministic.

They show that two computations agree; they say nothing about how good the model is, and the report says so.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

SENTENCES = (
    "The pump in hall three has been running warm since the last inspection.",
    "Patient reports mild pain in the left shoulder after exercise.",
    "Bearing temperature is normal.",
    "Please send the blood count to the ward before noon.",
    "A red light on the cabinet means that the filter must be changed, not that the machine has stopped.",
    "No fault found.",
    "The robot's gripper dropped two parts out of four hundred on Tuesday night.",
    "Where is the key to the server room?",
    "Der Motor läuft ruhig, aber die Anzeige flackert.",
    "Pressure 4.2 bar, flow 118 l/min, temperature 63 °C.",
    "She wrote the note in a hurry and forgot to sign it.",
    "Scan complete: 12 slices, contrast agent given, no allergic reaction.",
)
_SEED = 20240601
SAMPLING_RATE_HZ = 16_000
_SOUND_S = 2.0


def made_pictures(count: int, width: int = 320, height: int = 240) -> list[Image.Image]:
    """Draw shapes on gradients with some noise: edges, plains and textures, as photographs have them."""
    return [_drawing(np.random.default_rng(_SEED + number), width, height) for number in range(count)]


def made_sounds(count: int) -> list[npt.NDArray[np.float32]]:
    """Mix tones that glide and fade with noise, -1 to 1 at SAMPLING_RATE_HZ."""
    return [_sound(np.random.default_rng(_SEED + number)) for number in range(count)]


def _drawing(random: np.random.Generator, width: int, height: int) -> Image.Image:
    across, down = np.linspace(0, 1, width), np.linspace(0, 1, height)[:, None]
    slopes = random.uniform(-1, 1, (3, 2))
    planes = [0.5 + 0.4 * (a * (across - 0.5) + b * (down - 0.5)) for a, b in slopes]
    noisy = np.stack(planes, axis=-1) + random.normal(0, 0.03, (height, width, 3))
    picture = Image.fromarray((noisy.clip(0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(6):
        left, top = random.uniform(0, 0.7) * width, random.uniform(0, 0.7) * height
        box = (left, top, left + random.uniform(0.1, 0.3) * width, top + random.uniform(0.1, 0.3) * height)
        colour = _colour(random)
        (pen.ellipse if random.integers(2) else pen.rectangle)(box, fill=colour, outline=_colour(random), width=3)
    return picture


def _colour(random: np.random.Generator) -> Any:
    return tuple(int(value) for value in random.integers(0, 256, 3))


def _sound(random: np.random.Generator) -> npt.NDArray[np.float32]:
    time_s = np.arange(int(_SOUND_S * SAMPLING_RATE_HZ)) / SAMPLING_RATE_HZ
    tones = np.zeros_like(time_s)
    for _ in range(4):
        start_hz, slope_hz_per_s = random.uniform(120, 1800), random.uniform(-200, 200)
        envelope = np.exp(-((time_s - random.uniform(0, _SOUND_S)) ** 2) / 0.1)
        tones += envelope * np.sin(2 * np.pi * (start_hz * time_s + slope_hz_per_s * time_s**2 / 2))
    mixed = tones / 4 + random.normal(0, 0.01, time_s.shape)
    return mixed.clip(-1, 1).astype(np.float32)


def made_ids(count: int, lengths: Sequence[int], vocabulary: int) -> list[npt.NDArray[np.int64]]:
    """Token numbers for a model without a tokenizer; the lowest are left out: they have special meanings."""
    lowest = min(10, vocabulary // 2)
    return [
        np.random.default_rng(_SEED + number).integers(lowest, vocabulary, lengths[number % len(lengths)])
        for number in range(count)
    ]
