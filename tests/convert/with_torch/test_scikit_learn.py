"""scikit-learn models as sources: what is compared, near which values, and which models are refused."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.ensemble import GradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.svm import SVC, OneClassSVM
from sklearn.tree import DecisionTreeRegressor

from appliance.backends.onnxruntime import open_session
from appliance.convert.exported_model import ExportedModel
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Array
from appliance.convert.sources.feature_ranges import feature_ranges
from appliance.convert.sources.scikit_learn_source import INPUT, LABEL, PROBABILITIES, VALUE, export_scikit_learn
from tests.convert.source_requests import request_for

pytestmark = pytest.mark.slow
CANCER, DIGITS, IRIS = load_breast_cancer(), load_digits(), load_iris()


def export(model: Any, tmp_path: Path, out: str = "graphs") -> ExportedModel:
    path = tmp_path / "model.joblib"
    joblib.dump(model, path)
    (tmp_path / out).mkdir()
    return export_scikit_learn(path, tmp_path / out, request_for(path, allow_pickle=True), lambda _: None)


def answers(exported: ExportedModel, rows: Array) -> dict[str, Array]:
    session = open_session(exported.graphs[0].file)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT: rows.astype(np.float32)}), strict=True))


CLASSIFIERS = {
    "gradient-boosting": (GradientBoostingClassifier(n_estimators=30, random_state=1), CANCER),
    "forest": (RandomForestClassifier(n_estimators=30, random_state=1), DIGITS),
    "svc-with-probabilities": (make_pipeline(StandardScaler(), SVC(probability=True, random_state=1)), IRIS),
    "svc-of-digits": (make_pipeline(MinMaxScaler(), SVC()), DIGITS),
    "logistic-of-digits": (make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=300)), DIGITS),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
# probability=True is what people's pipelines have, whatever becomes of it in scikit-learn 1.11
@pytest.mark.filterwarnings("ignore:The `probability` parameter was deprecated:FutureWarning")
def test_every_row_of_the_test_data_gets_the_label_that_scikit_learn_gives(name: str, tmp_path: Path) -> None:
    model, data = CLASSIFIERS[name]
    train, test, train_classes, _ = train_test_split(data.data, data.target, random_state=0)
    exported = export(model.fit(train, train_classes), tmp_path)

    found = answers(exported, test)
    rows = test.astype(np.float32).astype(np.float64)  # what reaches the model
    np.testing.assert_array_equal(found[LABEL], model.predict(rows))
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(found[PROBABILITIES], model.predict_proba(rows), atol=1e-5)


def test_a_classifier_is_compared_in_three_sizes_and_its_probabilities_bear_the_labels(tmp_path: Path) -> None:
    exported = export(LogisticRegression(max_iter=1000).fit(IRIS.data, IRIS.target_names[IRIS.target]), tmp_path)

    assert [batch.size for batch in exported.graphs[0].batches][:3] == [1, 2, 8]
    assert exported.graphs[0].batched
    assert exported.labels == ["setosa", "versicolor", "virginica"]
    assert exported.label_output == PROBABILITIES


@pytest.mark.parametrize("classes", [IRIS.target.astype(float), IRIS.target.astype(np.int8), IRIS.target == 1])
def test_classes_of_any_whole_numbers_are_compared_as_such(classes: Array, tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=1000).fit(IRIS.data, classes)
    exported = export(model, tmp_path)
    rows = IRIS.data.astype(np.float32)

    found, wanted = answers(exported, rows)[LABEL], exported.graphs[0].reference({INPUT: rows})[LABEL]
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == wanted.dtype == np.int64


@pytest.mark.parametrize(
    "model",
    [
        KMeans(3, n_init=1, random_state=0),
        IsolationForest(n_estimators=10, random_state=0),
        OneClassSVM(nu=0.1),
    ],
)
def test_a_model_without_classes_gives_its_label_alone(model: Any, tmp_path: Path) -> None:
    exported = export(model.fit(IRIS.data), tmp_path)
    rows = IRIS.data.astype(np.float32)

    found = answers(exported, rows)
    assert set(found) == {LABEL}
    assert len(set(found[LABEL].ravel().tolist())) > 1
    np.testing.assert_array_equal(found[LABEL].ravel(), model.predict(rows.astype(np.float64)))
    np.testing.assert_array_equal(found[LABEL], exported.graphs[0].reference({INPUT: rows})[LABEL])


def test_several_numbers_for_each_row_are_one_output(tmp_path: Path) -> None:
    model = MultiOutputRegressor(DecisionTreeRegressor(max_depth=3)).fit(IRIS.data[:, :2], IRIS.data[:, 2:])
    exported = export(model, tmp_path)

    found = answers(exported, IRIS.data[:20, :2])[VALUE]
    np.testing.assert_allclose(found, model.predict(IRIS.data[:20, :2]), rtol=1e-5)


REFUSED = {
    "several labels": RandomForestClassifier(2).fit(IRIS.data, np.c_[IRIS.target, IRIS.target % 2]),
    "has the classes": RandomForestClassifier(2).fit(IRIS.data, np.array(["0.5", "1.5", "2"])[IRIS.target]),
    "cannot export": make_pipeline(FunctionTransformer(np.log1p), LogisticRegression(max_iter=1000)).fit(
        IRIS.data, IRIS.target
    ),
    "expected a fitted": StandardScaler().fit(IRIS.data),
}
REFUSED["has the classes"].classes_ = np.array([0.5, 1.5, 2.0])


@pytest.mark.parametrize("words", REFUSED)
def test_a_model_that_onnx_cannot_say_is_refused_in_words(words: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionRefused, match=words) as refused:
        export(REFUSED[words], tmp_path)

    assert refused.value.reason is Reason.UNSUPPORTED_ARCHITECTURE


def test_a_model_of_another_version_of_scikit_learn_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.joblib"
    joblib.dump(LogisticRegression(max_iter=1000).fit(IRIS.data, IRIS.target), path)
    older = "0" + sklearn.__version__[1:]
    path.write_bytes(path.read_bytes().replace(sklearn.__version__.encode(), older.encode()))

    with pytest.raises(ConversionRefused, match=f"saved by scikit-learn {older}") as refused:
        export_scikit_learn(path, tmp_path, request_for(path, allow_pickle=True), lambda _: None)

    assert f"scikit-learn=={older}" in refused.value.hint


def test_made_rows_lie_where_the_training_data_lay(tmp_path: Path) -> None:
    model = make_pipeline(MinMaxScaler(), LogisticRegression()).fit(DIGITS.data, DIGITS.target)
    exported = export(model, tmp_path)

    rows = np.concatenate([sample.inputs[INPUT] for sample in exported.graphs[0].samples])
    assert not exported.samples_are_real
    assert (rows >= DIGITS.data.min(axis=0)).all()
    assert (rows <= DIGITS.data.max(axis=0)).all()
    assert rows.max() > 8  # of 16


def test_the_splits_of_trees_tell_where_features_lay() -> None:
    lowest, highest = feature_ranges(RandomForestClassifier(20, random_state=0).fit(IRIS.data, IRIS.target))

    assert (lowest >= IRIS.data.min(axis=0) - 1).all()
    assert (highest <= IRIS.data.max(axis=0) + 1).all()
    assert (highest - lowest > 1).all()


def test_two_exports_give_the_same_bytes(tmp_path: Path) -> None:
    model = RandomForestClassifier(5, random_state=0).fit(IRIS.data, IRIS.target)

    first, second = (export(model, tmp_path, out).graphs[0].file.read_bytes() for out in ("first", "second"))

    assert first == second
