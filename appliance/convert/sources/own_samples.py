"""The person's own inputs: a folder of pictures, texts or sounds.

Every refusal names the file; nothing is skipped in silence.
"""

import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from appliance.convert.refusal import ConversionRefused, Reason

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
TEXTS = (".txt",)
SOUNDS = (".wav",)
_SIXTEEN_BITS = 2  # bytes

Read = TypeVar("Read")


def read_pictures(folder: Path, limit: int) -> list[tuple[str, Image.Image]]:
    """Read up to `limit` pictures: (name, RGB picture), in the order of their names."""
    return _read(folder, PICTURES, limit, "pictures", _picture)


def read_sounds(folder: Path, limit: int, rate_hz: int) -> list[tuple[str, npt.NDArray[np.float32]]]:
    """Read up to `limit` sounds: (name, mono samples from -1 to 1). They must have the model's sampling rate."""
    return _read(folder, SOUNDS, limit, "sounds", lambda path: _sound(path, rate_hz))


def read_texts(folder: Path, limit: int) -> list[tuple[str, str]]:
    """Read up to `limit` lines of the text files: (name, line)."""
    files = _read(folder, TEXTS, limit, "texts", lambda path: path.read_text(encoding="utf-8"))
    lines = [
        (f"{name}-{number}", line.strip())
        for name, text in files
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]
    if not lines:
        raise _refused(f"the text files in {folder} hold no line of text")
    return lines[:limit]


def _read(
    folder: Path, suffixes: Sequence[str], limit: int, what: str, read: Callable[[Path], Read]
) -> list[tuple[str, Read]]:
    wanted = ", ".join(suffixes)
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    except OSError as error:
        raise _refused(f"{folder} cannot be read: {error.strerror}") from error
    if not found:
        raise _refused(f"{folder} holds no {what} ({wanted})")
    return [(path.stem, _one(path, read)) for path in found[:limit]]


def _one(path: Path, read: Callable[[Path], Read]) -> Read:
    try:
        return read(path)
    except ConversionRefused:
        raise
    except (OSError, EOFError, ValueError, SyntaxError, wave.Error, Image.DecompressionBombError) as error:
        raise _refused(f"{path} cannot be read: {error}") from error


def _picture(path: Path) -> Image.Image:
    with Image.open(path) as file:
        return ImageOps.exif_transpose(file).convert("RGB")


def _sound(path: Path, rate_hz: int) -> npt.NDArray[np.float32]:
    with wave.open(str(path), "rb") as file:
        if file.getsampwidth() != _SIXTEEN_BITS or file.getframerate() != rate_hz:
            found = f"{8 * file.getsampwidth()} bits at {file.getframerate()} Hz"
            raise _refused(f"{path} has {found}, expected 16 bits at {rate_hz} Hz")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    if not len(samples):
        raise _refused(f"{path} holds no sound")
    mono: npt.NDArray[np.float32] = (samples.mean(axis=1) / 32768).astype(np.float32)
    return mono


def _refused(message: str) -> ConversionRefused:
    return ConversionRefused(
        Reason.SAMPLES, message, hint="correct the folder, or leave the option out to use made inputs"
    )
