"""Models of many kinds that no kernel computes, as their twins are tried on; and what MLflow makes of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import (
    BaggingRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mlflow_ext.registry.trusted_types import TRUSTED_TYPES
from tests.integration.serving.fitted import Fitted, signature, table


def twin_models() -> Iterator[tuple[str, Fitted]]:
    """Fit everything; gives name and model."""
    frame = table()
    numbers, all_numbers = frame[["a", "b"]], frame[["a", "n", "b", "flag"]]
    value = frame.a * 3 + frame.b / 50 + frame.n
    yes = (value > 20).astype(int)
    words = pd.Series(np.array(["low", "mid", "hïgh"], dtype=object)[np.digitize(value, [5, 30])])

    def of(model: Any, rows: pd.DataFrame, target: Any) -> Fitted:
        return Fitted(model.fit(rows, target), rows, signature(rows), "onnx")

    def encoded() -> ColumnTransformer:
        return ColumnTransformer(
            [
                ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b", "n"]),
                ("kinds", OneHotEncoder(handle_unknown="ignore"), ["kind", "place"]),
                ("flag", "passthrough", ["flag"]),
            ]
        )

    strict = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["place"]), (OrdinalEncoder(), ["kind"]), (MinMaxScaler(), ["b"])
    )
    lenient = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    ordinal = ColumnTransformer([("n", "passthrough", ["a", "b", "n"]), ("k", lenient, ["kind", "place"])])
    few = {"n_estimators": 12, "random_state": 0}
    yield "boosting", of(GradientBoostingClassifier(**few), all_numbers, words)
    yield "boosting two", of(GradientBoostingClassifier(**few), numbers, yes)
    yield "boosting value", of(GradientBoostingRegressor(**few), numbers, value)
    yield "histograms", of(HistGradientBoostingClassifier(max_iter=12, random_state=0), all_numbers, words)
    yield "histograms two", of(HistGradientBoostingClassifier(max_iter=12, random_state=0), numbers, yes == 1)
    yield "histograms value", of(HistGradientBoostingRegressor(max_iter=12, random_state=0), all_numbers, value)
    counts = np.maximum(0, value.round())
    yield (
        "histograms counts",
        of(HistGradientBoostingRegressor(loss="poisson", max_iter=12, random_state=0), numbers, counts),
    )
    yield "columns boosting", of(make_pipeline(encoded(), GradientBoostingClassifier(**few)), frame, words)
    yield "columns value", of(make_pipeline(encoded(), GradientBoostingRegressor(**few)), frame, value)
    yield (
        "columns histograms",
        of(make_pipeline(ordinal, HistGradientBoostingClassifier(max_iter=12, random_state=0)), frame, words),
    )
    yield (
        "columns tree",
        of(make_pipeline(strict, DecisionTreeRegressor(random_state=0)), frame[["kind", "place", "b"]], value),
    )
    yield "tree", of(DecisionTreeClassifier(random_state=0), numbers, words)
    yield "bagging", of(BaggingRegressor(n_estimators=5, random_state=0), numbers, value)
    yield "bayes", of(GaussianNB(), numbers, yes)
    yield "kernel machine", of(make_pipeline(StandardScaler(), SVC()), numbers, words)
    network = MLPRegressor(hidden_layer_sizes=(8,), max_iter=1_500, tol=1e-2, random_state=0)
    yield "network value", of(make_pipeline(StandardScaler(), network), numbers, value)
    yield "calibrated", of(CalibratedClassifierCV(LinearSVC()), numbers, words)


def with_kernels() -> Iterator[tuple[str, Fitted]]:
    """Fit models that have kernels; policy may want their twins all the same."""
    frame = table()
    numbers = frame[["a", "b"]]
    value = frame.a * 3 + frame.b / 50 + frame.n
    words = pd.Series(np.array(["low", "mid", "hïgh"], dtype=object)[np.digitize(value, [5, 30])])
    for name, model, target in (
        ("logistic", LogisticRegression(max_iter=1_000), words),
        ("ridge", Ridge(), value),
        ("forest", RandomForestClassifier(15, random_state=0), words),
        ("forest value", RandomForestRegressor(15, random_state=0), value),
        ("svm", make_pipeline(StandardScaler(), LinearSVC()), words),
    ):
        yield name, Fitted(model.fit(numbers, target), numbers, signature(numbers), "onnx")


def save(one: Fitted, into: Path) -> Path:
    """Save a model as MLflow does; gives its directory."""
    mlflow.sklearn.save_model(
        one.model,
        str(into),
        signature=one.signature,
        pyfunc_predict_fn=one.predict,
        skops_trusted_types=TRUSTED_TYPES,
        pip_requirements=[],
    )
    return into


def saved(one: Fitted, into: Path) -> Any:
    """Save a model and load it as MLflow does (`PyFuncModel`)."""
    return mlflow.pyfunc.load_model(str(save(one, into)))
