"""The model `digits`: a handwritten digit, 8x8 pixels, to ten probabilities."""

import warnings
from functools import partial
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss
from sklearn.neural_network import MLPClassifier

from train_models.classifier import (
    FOLDS,
    OPSET,
    SEED,
    Array,
    Dense,
    Split,
    cross_validate,
    export,
    first_correct,
    predict,
    require_same,
    split,
    unsure_correct,
)
from train_models.package import DataSource, GoldenSample, ModelPackage, Picture

DIMS = (1, 8, 8)
TEST_SHARE = 0.25
CANDIDATES: tuple[tuple[int, ...], ...] = ((128,), (256,), (256, 128))
OPTIONS: dict[str, Any] = {"alpha": 0.01, "batch_size": 64, "max_iter": 60}
SHIFTS = ((0, 1), (0, -1), (1, 0), (-1, 0))
SAMPLES = {"zero": 0, "three": 3, "seven": 7}

CARD = """\
# digits

Reads one handwritten digit from a picture of 8x8 grey pixels.

* **Input** `image`: FP32 [N, 1, 8, 8], 0 = paper, 1 = ink.
* **Output** `probabilities`: FP32 [N, 10], one value per digit, sum 1 (`labels.txt`).
* **Licence of the model**: Apache-2.0.

## For whom, for what
A small model with real weights and real data: to try the appliance, to check an installation, to measure it.

## Limits
It knows only the digits 0 to 9, upright, centred, cut out and reduced to 8x8 the way its data was; it answers
with a digit for any picture, and with high confidence even for one that shows none. Not for reading forms, cheques
or meters. All pictures come from 13 writers of the 1990s; other hands write otherwise. The data does not say who
wrote what, so the same writers are surely among the training and the test pictures: expect less than the
accuracy given here from writers never seen.

## Data
*Optical Recognition of Handwritten Digits*, E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning Repository,
<https://doi.org/10.24432/C50P49>, licence CC BY 4.0. Used is the copy of its test set that scikit-learn carries
(`sklearn.datasets.load_digits`, 1797 pictures). Changed here: values 0..16 divided by 16.

## Training
scikit-learn's MLPClassifier, layers {layers}, ReLU, Adam, {max_iter} passes. {train_rows} pictures to learn from,
each also moved by one pixel left, right, up and down; {test_rows} to measure with, each digit in proportion,
seed {seed}. The layers were chosen by {folds}-fold cross-validation on the training
pictures:

| hidden layers | accuracy |
|---|---|
{candidates}

## Measured
The ONNX file in ONNX Runtime on the CPU, on the {test_rows} test pictures: **accuracy {accuracy:.2%}**
({errors} wrong), log loss {log_loss:.3f}.

## Reproduce
`pip install -e '.[cpu,train]'`, then `scripts/train-models --only digits`. The tool versions named in
`provenance.json` give the same bytes.
"""


def build() -> ModelPackage:
    """Load, split, choose, train, export and measure."""
    images, digits = load_digits(return_X_y=True)
    rows = split((images / 16).astype(np.float32), digits, TEST_SHARE)
    scores = {layers: cross_validate(partial(accuracy, layers=layers), rows) for layers in CANDIDATES}
    chosen = max(scores, key=lambda layers: scores[layers])
    network = train(rows, chosen)
    layers = [Dense(weights, bias) for weights, bias in zip(network.coefs_, network.intercepts_, strict=True)]
    model = export("digits", "image", DIMS, layers)
    probabilities = predict(model, as_images(rows.test_x))
    require_same(probabilities, network.predict_proba(rows.test_x))
    metrics = measure(rows, probabilities) | {"cross_validation_accuracy": round(scores[chosen], 4)}
    return ModelPackage(
        name="digits",
        description="handwritten digit, 8x8 grey pixels",
        input_name="image",
        model=model,
        labels=[str(digit) for digit in range(10)],
        data=DataSource(
            "Optical Recognition of Handwritten Digits",
            "sklearn.datasets.load_digits; https://doi.org/10.24432/C50P49",
            "CC-BY-4.0",
            {"data": images, "target": digits},
        ),
        options=OPTIONS
        | {"seed": SEED, "hidden_layers": chosen, "shifts": SHIFTS, "test_share": TEST_SHARE, "opset": OPSET},
        metrics=metrics,
        samples=golden_samples(rows, probabilities),
        card=describe(rows, scores, chosen, metrics),
        pictures=[Picture("seven", rows.test_x[first_correct(probabilities, rows, 7)].reshape(8, 8), "7")],
    )


def train(rows: Split, layers: tuple[int, ...]) -> MLPClassifier:
    """Learn from the training rows and their shifted copies."""
    x = np.concatenate([rows.train_x, *(shift(rows.train_x, down, right) for down, right in SHIFTS)])
    y = np.tile(rows.train_y, 1 + len(SHIFTS))
    with warnings.catch_warnings():
        # The number of passes is the plan, not a failure to converge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MLPClassifier(layers, random_state=SEED, **OPTIONS).fit(x, y)


def shift(x: Array, down: int, right: int) -> Array:
    """x: [rows, 64]; every picture moved by at most one pixel, paper moves in."""
    padded = np.pad(x.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    return padded[:, 1 - down : 9 - down, 1 - right : 9 - right].reshape(-1, 64)


def accuracy(rows: Split, layers: tuple[int, ...]) -> float:
    return float(train(rows, layers).score(rows.test_x, rows.test_y))


def as_images(x: Array) -> Array:
    """x: [rows, 64] -> [rows, 1, 8, 8]."""
    return x.reshape(-1, *DIMS)


def measure(rows: Split, probabilities: Array) -> dict[str, Any]:
    """The numbers of the card, from the test rows."""
    answers = probabilities.argmax(axis=1)
    return {
        "test_rows": len(answers),
        "errors": int((answers != rows.test_y).sum()),
        "accuracy": round(float(accuracy_score(rows.test_y, answers)), 4),
        "log_loss": round(float(log_loss(rows.test_y, probabilities)), 4),
    }


def golden_samples(rows: Split, probabilities: Array) -> list[GoldenSample]:
    chosen = {name: first_correct(probabilities, rows, digit) for name, digit in SAMPLES.items()}
    chosen["unsure"] = unsure_correct(probabilities, rows, range(10))
    return [
        GoldenSample(name, as_images(rows.test_x[row : row + 1]), str(rows.test_y[row]))
        for name, row in chosen.items()
    ]


def describe(
    rows: Split, scores: dict[tuple[int, ...], float], chosen: tuple[int, ...], metrics: dict[str, Any]
) -> str:
    table = "\n".join(f"| {'-'.join(map(str, layers))} | {score:.2%} |" for layers, score in scores.items())
    return CARD.format(
        layers="-".join(map(str, (64, *chosen, 10))),
        max_iter=OPTIONS["max_iter"],
        train_rows=len(rows.train_y),
        seed=SEED,
        folds=FOLDS,
        candidates=table,
        **metrics,
    )
