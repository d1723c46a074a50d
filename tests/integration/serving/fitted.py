"""Fitted scikit-learn models of many kinds, with the engine that is to answer for each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC

ROWS = 300


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model to be logged.

    Attributes:
        model: The fitted model.
        frame: Rows that it was fitted on.
        signature: Its signature.
        engine: What must answer its usual requests: `kernel`, `python`, or `None` where MLflow's code always does.
        predict: The function that MLflow is told to call.
    """

    model: Any
    frame: pd.DataFrame
    signature: ModelSignature
    engine: str | None
    predict: str = "predict"


def table() -> pd.DataFrame:
    """Make rows with columns of every type that JSON can hold without help."""
    random = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "a": random.normal(size=ROWS),
            "b": random.normal(scale=100, size=ROWS),
            "n": random.integers(-5, 60, ROWS),
            "flag": random.random(ROWS) < 0.5,
            "kind": random.choice(["red", "grün", 'q"uote', ""], ROWS),
            "place": random.choice(["north", "south"], ROWS),
        }
    )


def signature(frame: pd.DataFrame) -> ModelSignature:
    """Describe a table's columns, none of them optional."""
    kinds = {"f": DataType.double, "i": DataType.long, "b": DataType.boolean}
    return ModelSignature(
        Schema([ColSpec(kinds.get(kind.kind, DataType.string), name) for name, kind in frame.dtypes.items()])
    )


def fitted() -> Iterator[tuple[str, Fitted]]:
    """Fit everything; gives name and model."""
    frame = table()
    numbers, all_numbers = frame[["a", "b"]], frame[["a", "n", "b", "flag"]]
    value = frame.a * 3 + frame.b / 50 + frame.n
    yes = (value > 20).astype(int)
    words = pd.Series(np.array(["low", "mid", "hïgh"], dtype=object)[np.digitize(value, [5, 30])])

    def of(model: Any, rows: pd.DataFrame, target: Any, engine: str | None, **more: Any) -> Fitted:
        model.fit(rows, target)
        return Fitted(model, rows, signature(rows), engine, **more)

    encoded = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b", "n"]),
            ("kinds", OneHotEncoder(handle_unknown="ignore"), ["kind", "place"]),
            ("flag", "passthrough", ["flag"]),
        ]
    )
    strict = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["place"]), (OrdinalEncoder(), ["kind"]), (MinMaxScaler(), ["b"])
    )
    yield "logistic", of(LogisticRegression(), numbers, yes, "kernel")
    yield "three words", of(LogisticRegression(max_iter=1_000), all_numbers, words, "kernel")
    yield "svm", of(make_pipeline(StandardScaler(), LinearSVC()), numbers, yes == 1, "kernel")
    yield "sgd", of(make_pipeline(MinMaxScaler(), SGDClassifier(random_state=0)), all_numbers, words, "kernel")
    yield "ridge", of(Ridge(), numbers, value, "kernel")
    yield "line", of(LinearRegression(), all_numbers, value, "kernel")
    yield "forest", of(RandomForestClassifier(20, random_state=0), all_numbers, words, "kernel")
    yield "forest value", of(RandomForestRegressor(10, random_state=0), numbers, value, "kernel")
    yield "extra", of(ExtraTreesClassifier(10, random_state=0), numbers, yes, "kernel")
    yield "extra value", of(ExtraTreesRegressor(10, random_state=0), numbers, value, "kernel")
    yield "columns", of(make_pipeline(encoded, LogisticRegression()), frame, words, "kernel")
    yield "strict columns", of(make_pipeline(strict, Ridge()), frame[["kind", "place", "b"]], value, "kernel")
    yield "boosting", of(HistGradientBoostingClassifier(max_iter=5, random_state=0), all_numbers, words, "python")
    yield "boosted value", of(GradientBoostingRegressor(n_estimators=5, random_state=0), numbers, value, "python")
    yield "bayes", of(GaussianNB(), numbers, yes, "python")
    single = ModelSignature(Schema([ColSpec(DataType.float, "a"), ColSpec(DataType.double, "b")]))
    yield "single precision", Fitted(LogisticRegression().fit(numbers, yes), numbers, single, "python")
    maybe = ModelSignature(Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.double, "b", required=False)]))
    yield (
        "optional",
        Fitted(HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(numbers, yes), numbers, maybe, None),
    )
    yield "probabilities", of(LogisticRegression(), numbers, yes, None, predict="predict_proba")
    unnamed = ModelSignature(Schema([ColSpec("double"), ColSpec("double")]))
    yield "unnamed", Fitted(LogisticRegression().fit(numbers.to_numpy(), yes), numbers, unnamed, None)
