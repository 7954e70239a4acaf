"""What training leaves: a Hugging Face directory with sample pictures, whole or not at all."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from transformers import ResNetForImageClassification, ViTImageProcessor

from finetune.data import SEED, SIZE, Pictures

SAMPLES = 64
FRONT_MATTER = "---\nlicense: {licence}\n---\n"
CARD = """\
# {name}

A residual network ({parameters:,} weights) that tells {classes} classes of grey pictures apart.

## Limits
{limits}

## Data
{origin}

## Training
{train} pictures to learn from, {test} to measure with, each class in proportion, seed {seed}.
{training}

## Measured
On the {test} pictures that it had not seen: **accuracy {accuracy:.2%}**.
"""


def write(out: Path, model: ResNetForImageClassification, pictures: Pictures, training: str, accuracy: float) -> None:
    """Write beside `out` first, then rename. training: how it was trained, for the card."""
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _write_model(scratch, model, pictures.classes)
        _write_samples(scratch / "samples", pictures)
        (scratch / "README.md").write_text(_card(out.name, model, pictures, training, accuracy))
        scratch.chmod(0o755)
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_model(folder: Path, model: ResNetForImageClassification, classes: Sequence[str]) -> None:
    model.config.id2label = dict(enumerate(classes))
    model.config.label2id = {label: number for number, label in enumerate(classes)}
    model.save_pretrained(folder, safe_serialization=True)
    processor = ViTImageProcessor(
        do_resize=True, size={"height": SIZE, "width": SIZE}, resample=2, do_rescale=True, rescale_factor=1 / 255,
        do_normalize=False,
    )  # fmt: skip
    processor.save_pretrained(folder)


def _write_samples(folder: Path, pictures: Pictures) -> None:
    """Write test pictures, the first of each class before the second of any."""
    folder.mkdir()
    seen: Counter[int] = Counter()
    rows = []
    for picture, number in zip(pictures.test.pictures, pictures.test.classes, strict=True):
        rows.append((seen[number], number, picture))
        seen[number] += 1
    for place, (_, number, picture) in enumerate(sorted(rows, key=lambda row: row[:2])[:SAMPLES]):
        picture.save(folder / f"{place:03}-{pictures.classes[number]}.png")


def _card(name: str, model: ResNetForImageClassification, pictures: Pictures, training: str, accuracy: float) -> str:
    card = CARD.format(
        name=name,
        parameters=model.num_parameters(),
        classes=len(pictures.classes),
        limits=pictures.limits,
        origin=pictures.origin,
        train=len(pictures.train),
        test=len(pictures.test),
        seed=SEED,
        training=training,
        accuracy=accuracy,
    )
    return FRONT_MATTER.format(licence=pictures.licence.lower()) + card if pictures.licence else card
