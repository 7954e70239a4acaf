"""The pictures: scikit-learn's handwritten digits, or one's own in one folder for each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from appliance.errors import InvalidInput

SIZE = 32  # pixels; smaller pictures are enlarged, as the image processor does it when the model is used
TEST_SHARE = 0.25
SEED = 20240601  # of the split: that of scripts/train-models
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
FEWEST = 4  # pictures of a class: three to learn from and one to measure with
DIGITS_LIMITS = """\
It knows only the digits 0 to 9, upright, centred, cut out and reduced to 8x8 pixels the way its data was; it answers
with a digit for any picture, and with high confidence even for one that shows none. Not for reading forms, cheques
or meters. All pictures come from 13 writers of the 1990s; other hands write otherwise. The data does not say who
wrote what, so the same writers are surely among the training and the test pictures: expect less than the
accuracy given here from writers never seen."""
DIGITS_ORIGIN = """\
*Optical Recognition of Handwritten Digits*, E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning Repository,
<https://doi.org/10.24432/C50P49>, licence CC BY 4.0. Used is the copy of its test set that scikit-learn carries
(`sklearn.datasets.load_digits`, 1797 pictures of 8x8 pixels). Changed here: values 0..16 became grey values 0..255,
0 paper and 255 ink."""

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
    """All of a data set. classes: names, by number; origin and limits: for the card."""

    classes: Sequence[str]
    train: Labelled
    test: Labelled
    origin: str
    limits: str
    licence: str  # SPDX, of weights that learn from them; empty where their owner has to say


def digits() -> Pictures:
    """Digits of 8x8 pixels, 0 paper and 255 ink."""
    images, numbers = load_digits(return_X_y=True)
    pictures = [Image.fromarray(np.round(row.reshape(8, 8) * 255 / 16).astype(np.uint8)) for row in images]
    train, test = _split(pictures, [int(number) for number in numbers])
    return Pictures([str(number) for number in range(10)], train, test, DIGITS_ORIGIN, DIGITS_LIMITS, "Apache-2.0")


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
    train, test = _split(pictures, numbers)
    origin = f"{len(pictures)} pictures of its owner."
    limits = f"It knows only these {len(classes)} classes, and answers with one of them for any picture."
    return Pictures(classes, train, test, origin, limits, "")


def _read(path: Path) -> Picture:
    try:
        with Image.open(path) as file:
            return ImageOps.exif_transpose(file).convert("L")  # upright, as `appliance infer` reads it
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", hint="replace or remove the file") from error


def _split(pictures: Sequence[Picture], numbers: Sequence[int]) -> tuple[Labelled, Labelled]:
    """Return what to learn from and what to measure with, each class in proportion."""
    rows = np.arange(len(pictures))
    train, test = train_test_split(rows, test_size=TEST_SHARE, stratify=numbers, random_state=SEED)

    def chosen(indexes: np.ndarray) -> Labelled:
        return Labelled([pictures[index] for index in indexes], [numbers[index] for index in indexes])

    return chosen(train), chosen(test)
