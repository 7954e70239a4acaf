"""The model `breast-cancer`: thirty measurements of cell nuclei to the probabilities of malignant and benign."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, log_loss, roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from train_models.classifier import (
    FOLDS,
    OPSET,
    SEED,
    Array,
    Dense,
    Split,
    Standardisation,
    cross_validate,
    export,
    first_correct,
    predict,
    require_same,
    split,
    two_columns,
    unsure_correct,
)
from train_models.package import DataSource, GoldenSample, ModelPackage, write_package

LABELS = ("malignant", "benign")
MALIGNANT, BENIGN = 0, 1
TEST_SHARE = 0.3


def logistic_regression(strength: float) -> Callable[[], Any]:
    return lambda: LogisticRegression(C=strength, max_iter=5000)


def network(alpha: float) -> Callable[[], Any]:
    return lambda: MLPClassifier((16,), alpha=alpha, max_iter=500, random_state=SEED)


CANDIDATES: dict[str, Callable[[], Any]] = {
    **{f"logistic regression, C={strength}": logistic_regression(strength) for strength in (0.1, 0.3, 1.0, 3.0)},
    **{f"network of 16 hidden units, alpha={alpha}": network(alpha) for alpha in (0.1, 1.0, 3.0)},
}

CARD = """\
# breast-cancer

Tells malignant from benign by thirty measurements of the cell nuclei in a fine needle aspirate of a breast mass.

**A demonstration, not a medical device.** It must not be used to diagnose, to triage or to decide about anybody.

* **Input** `features`: FP32 [N, 30] in original units, in the order below; standardised inside the graph.
* **Output** `probabilities`: FP32 [N, 2], malignant and benign (`labels.txt`), sum 1.
* **Licence of the model**: Apache-2.0.

## For whom, for what
A small model with real weights and real data: to try the appliance with tabular input, to check an installation.

## Limits
569 cases collected at the University of Wisconsin and published in 1995. Nothing is known about other people,
microscopes or ways of measuring. The share of malignant cases (37 %) is that of this collection.
The threshold is 0.5 and was not tuned to the cost of a missed case. With {malignant_rows} malignant test rows,
one more missed case changes the sensitivity by {one_case:.1%}.

## Data
*Breast Cancer Wisconsin (Diagnostic)*, W. Wolberg, O. Mangasarian, N. Street and W. Street, 1993, UCI Machine
Learning Repository, <https://doi.org/10.24432/C5DW2B>, licence CC BY 4.0. Used is the copy that scikit-learn
carries (`sklearn.datasets.load_breast_cancer`, 569 rows), unchanged.

Columns: {columns}.

## Training
{train_rows} rows to learn from, {test_rows} to measure with, each class in proportion, seed {seed}. The model was
chosen by log loss in {folds}-fold cross-validation on the training rows (lower is better): {chosen}.

| candidate | log loss |
|---|---|
{candidates}

## Measured
The ONNX file in ONNX Runtime on the CPU, on the {test_rows} test rows:

| | |
|---|---|
| accuracy | {accuracy:.2%} |
| sensitivity for malignant | {sensitivity_malignant:.2%} ({malignant_found} of {malignant_rows} found) |
| specificity | {specificity:.2%} ({benign_found} of {benign_rows} benign rows called benign) |
| area under the ROC curve | {auc:.4f} |
| log loss | {log_loss:.3f} |

## Reproduce
`pip install -e '.[cpu,train]'`, then `scripts/train-models --only breast-cancer`. The tool versions named in
`provenance.json` give the same bytes.
"""


def write(folder: Path) -> Mapping[str, Any]:
    """Write the package and return what was measured."""
    package = build()
    write_package(package, folder)
    return package.metrics


def build() -> ModelPackage:
    """Load, split, choose, train, export and measure."""
    data = load_breast_cancer()
    rows = split(data.data.astype(np.float32), data.target, TEST_SHARE)
    scores = {name: cross_validate(partial(loss, name=name), rows) for name in CANDIDATES}
    chosen = min(scores, key=lambda name: scores[name])
    pipeline = train(rows, chosen)
    model = export("breast-cancer", "features", (30,), dense_layers(pipeline[-1]), standardisation(pipeline[0]))
    probabilities = predict(model, rows.test_x)
    require_same(probabilities, pipeline.predict_proba(rows.test_x))
    metrics = measure(rows, probabilities) | {"cross_validation_log_loss": round(scores[chosen], 4)}
    return ModelPackage(
        name="breast-cancer",
        description="malignant or benign by 30 measurements of cell nuclei; a demonstration, not a medical device",
        input_name="features",
        model=model,
        labels=LABELS,
        data=DataSource(
            "Breast Cancer Wisconsin (Diagnostic)",
            "sklearn.datasets.load_breast_cancer; https://doi.org/10.24432/C5DW2B",
            "CC-BY-4.0",
            {"data": data.data, "target": data.target},
        ),
        options={"seed": SEED, "model": chosen, "test_share": TEST_SHARE, "opset": OPSET},
        metrics=metrics,
        samples=golden_samples(rows, probabilities),
        card=describe(rows, scores, chosen, metrics, ", ".join(data.feature_names)),
    )


def train(rows: Split, name: str) -> Pipeline:
    """Learn from the training rows, in double precision."""
    with warnings.catch_warnings():
        # The number of passes is the plan, not a failure to converge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), CANDIDATES[name]()).fit(rows.train_x.astype(np.float64), rows.train_y)


def loss(rows: Split, name: str) -> float:
    return float(log_loss(rows.test_y, train(rows, name).predict_proba(rows.test_x)))


def standardisation(scaler: StandardScaler) -> Standardisation:
    return Standardisation(scaler.mean_, scaler.scale_)


def dense_layers(model: LogisticRegression | MLPClassifier) -> list[Dense]:
    """The layers of either kind of candidate; the one logit of a two-class model becomes two."""
    if isinstance(model, LogisticRegression):
        return [two_columns(Dense(model.coef_.T, model.intercept_))]
    layers = [Dense(weights, bias) for weights, bias in zip(model.coefs_, model.intercepts_, strict=True)]
    return [*layers[:-1], two_columns(layers[-1])]


def measure(rows: Split, probabilities: Array) -> dict[str, Any]:
    """The numbers of the card, from the test rows; malignant is the positive class."""
    answers = probabilities.argmax(axis=1)
    (found, missed), (alarms, cleared) = confusion_matrix(rows.test_y, answers, labels=[MALIGNANT, BENIGN]).tolist()
    return {
        "test_rows": len(answers),
        "malignant_rows": found + missed,
        "malignant_found": found,
        "benign_rows": alarms + cleared,
        "benign_found": cleared,
        "accuracy": round((found + cleared) / len(answers), 4),
        "sensitivity_malignant": round(found / (found + missed), 4),
        "specificity": round(cleared / (alarms + cleared), 4),
        "auc": round(float(roc_auc_score(rows.test_y == MALIGNANT, probabilities[:, MALIGNANT])), 4),
        "log_loss": round(float(log_loss(rows.test_y, probabilities)), 4),
    }


def golden_samples(rows: Split, probabilities: Array) -> list[GoldenSample]:
    chosen = {LABELS[label]: first_correct(probabilities, rows, label) for label in (MALIGNANT, BENIGN)}
    chosen |= {
        f"{LABELS[label]}-unsure": unsure_correct(probabilities, rows, [label]) for label in (MALIGNANT, BENIGN)
    }
    return [GoldenSample(name, rows.test_x[row : row + 1], LABELS[rows.test_y[row]]) for name, row in chosen.items()]


def describe(rows: Split, scores: dict[str, float], chosen: str, metrics: dict[str, Any], columns: str) -> str:
    return CARD.format(
        one_case=1 / metrics["malignant_rows"],
        columns=columns,
        train_rows=len(rows.train_y),
        seed=SEED,
        folds=FOLDS,
        chosen=chosen,
        candidates="\n".join(f"| {name} | {score:.4f} |" for name, score in scores.items()),
        **metrics,
    )
