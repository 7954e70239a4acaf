"""The pictures: scikit-learn's handwritten digits, or one's own in one folder for each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from appliance.errors import InvalidInput

SIZE = 32  # pixels; smaller pictures are enlarged, as the image processor does it when the model is used
TEST_SHARE = 0.25
SEED = 20240601  # of the split: that of scripts/train-models
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
FEWEST = 4  # pictures of a class: three to learn from and one to measure with

Picture = Image.Image


@dataclass(frozen=True)
class Labelled:
    """Grey pictures with the numbers of their classes."""

    pictures: Sequence[Picture]
    classes: Sequence[int]

    def __len__(self) -> int:
        return len(self.pictures)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """FP32 [N, 1, SIZE, SIZE] from 0 to 1, and int64 [N]."""
        pixels = [np.asarray(each.resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for each in self.pictures]
        return np.stack(pixels).astype(np.float32)[:, None] / 255, np.array(self.classes, dtype=np.int64)


@dataclass(frozen=True)
class Pictures:
    """All of a data set. classes: names, by number."""

    classes: Sequence[str]
    train: Labelled
    test: Labelled
    origin: str
    licence: str  # of the pictures


def digits() -> Pictures:
    """Digits of 8x8 pixels, 0 paper and 255 ink."""
    images, numbers = load_digits(return_X_y=True)
    pictures = [Image.fromarray(np.round(row.reshape(8, 8) * 255 / 16).astype(np.uint8)) for row in images]
    return _split(
        [str(number) for number in range(10)],
        pictures,
        [int(number) for number in numbers],
        "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, 1998, as scikit-learn carries it",
        "CC-BY-4.0",
    )


def read_folders(folder: Path) -> Pictures:
    """Read `folder/CLASS/*.png`. Raises InvalidInput."""
    if not folder.is_dir():
        raise InvalidInput(
            f"{folder} is not a directory", hint="name the directory that holds one folder for each class"
        )
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise InvalidInput(
            f"{folder} holds {len(classes)} folders, expected one for each class, at least 2",
            hint=f"put the pictures of a class into {folder}/CLASS/",
        )
    pictures: list[Picture] = []
    numbers: list[int] = []
    for number, name in enumerate(classes):
        found = [_read(path) for path in sorted((folder / name).iterdir()) if path.suffix.lower() in SUFFIXES]
        if len(found) < FEWEST:
            raise InvalidInput(
                f"{folder / name} holds {len(found)} pictures ({', '.join(SUFFIXES)}), expected at least {FEWEST}",
                hint="bring more pictures of this class, or remove its folder",
            )
        pictures += found
        numbers += [number] * len(found)
    return _split(classes, pictures, numbers, f"own pictures ({len(pictures)} in {len(classes)} classes)", "")


def _read(path: Path) -> Picture:
    try:
        with Image.open(path) as file:
            return file.convert("L")
    except (OSError, ValueError, SyntaxError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", hint="replace or remove the file") from error


def _split(
    classes: Sequence[str], pictures: Sequence[Picture], numbers: Sequence[int], origin: str, licence: str
) -> Pictures:
    rows = np.arange(len(pictures))
    train, test = train_test_split(rows, test_size=TEST_SHARE, stratify=numbers, random_state=SEED)

    def chosen(indexes: np.ndarray) -> Labelled:
        return Labelled([pictures[index] for index in indexes], [numbers[index] for index in indexes])

    return Pictures(classes, chosen(train), chosen(test), origin, licence)
