"""What training leaves: a Hugging Face directory with sample pictures, whole or not at all."""

import shutil
from pathlib import Path
from tempfile import mkdtemp

from transformers import ResNetForImageClassification, ViTImageProcessor

from finetune.data import SIZE, Pictures

SAMPLES = 64
CARD = """\
---
license: apache-2.0
---
# {name}

A residual network ({parameters:,} weights) that tells {classes} classes of grey pictures apart.
Learnt from: {origin}. Accuracy on {test} pictures that it had not seen: {accuracy:.2%}.
"""


def write(out: Path, model: ResNetForImageClassification, pictures: Pictures, accuracy: float) -> None:
    """Write beside `out` first, then rename."""
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _fill(scratch, out.name, model, pictures, accuracy)
        scratch.chmod(0o755)
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fill(folder: Path, name: str, model: ResNetForImageClassification, pictures: Pictures, accuracy: float) -> None:
    model.config.id2label = dict(enumerate(pictures.classes))
    model.config.label2id = {label: number for number, label in enumerate(pictures.classes)}
    model.save_pretrained(folder, safe_serialization=True)
    processor = ViTImageProcessor(
        do_resize=True, size={"height": SIZE, "width": SIZE}, resample=2, do_rescale=True, rescale_factor=1 / 255,
        do_normalize=False,
    )  # fmt: skip
    processor.save_pretrained(folder)
    samples = folder / "samples"
    samples.mkdir()
    rows = list(zip(pictures.test.pictures, pictures.test.classes, strict=True))[:SAMPLES]
    for number, (picture, label) in enumerate(rows):
        picture.save(samples / f"{number:03}-{pictures.classes[label]}.png")
    (folder / "README.md").write_text(
        CARD.format(
            name=name,
            parameters=model.num_parameters(),
            classes=len(pictures.classes),
            origin=pictures.origin,
            test=len(pictures.test),
            accuracy=accuracy,
        )
    )
