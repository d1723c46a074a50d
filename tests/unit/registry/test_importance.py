"""What a model says about its columns, followed back through what a pipeline made of them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlflow_ext.domain.importance import ColumnImportance
from mlflow_ext.registry.importance import importance_of

RNG = np.random.default_rng(7)
ROWS = pd.DataFrame(
    {
        "far": RNG.normal(0, 100, 400),
        "near": RNG.normal(0, 1, 400),
        "kind": RNG.choice(["a", "b", "c"], 400),
        "unused": RNG.normal(0, 1, 400),
    }
)
KIND = ROWS["kind"].map({"a": 0.0, "b": 0.0, "c": 20.0})
TARGET = ROWS["far"] * 0.1 + ROWS["near"] * 5 + KIND
NUMBERS = ["far", "near", "unused"]


def parts() -> ColumnTransformer:
    """What makes features of each kind of column; `unused` is dropped."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer([("kinds", OneHotEncoder(), ["kind"]), ("numbers", numbers, ["far", "near"])])


def test_a_linear_model_counts_by_what_a_standard_deviation_of_a_column_moves() -> None:
    """0.1 a unit of a column that spreads over 100 counts for more than 5 a unit of one that spreads over 1."""
    found = importance_of(LinearRegression().fit(ROWS[NUMBERS], TARGET - KIND), ROWS[NUMBERS])
    assert found.source == "|coef_| times standard deviation of LinearRegression"
    assert found.columns["far"] == pytest.approx(2 / 3, abs=0.03)
    assert found.columns["near"] == pytest.approx(1 / 3, abs=0.03)
    assert sum(found.columns.values()) == pytest.approx(1)


@pytest.mark.parametrize("model", [LinearRegression(), RandomForestRegressor(20, random_state=0)])
def test_categories_of_a_pipeline_are_summed_back_to_their_column(model: Any) -> None:
    """Features of one-hot codes count for the column that they were; what the pipeline drops counts for nothing."""
    found = importance_of(Pipeline([("parts", parts()), ("model", model)]).fit(ROWS, TARGET), ROWS)
    assert set(found.columns) == set(ROWS)
    assert found.columns["unused"] == 0
    assert min(found.columns[name] for name in ("far", "near", "kind")) > 0.02


def test_selections_unions_and_searches_are_followed() -> None:
    """A selector keeps some features, a union puts them side by side, a search has a best model."""
    union = FeatureUnion([("one", StandardScaler()), ("other", StandardScaler())])
    steps = make_pipeline(union, SelectKBest(f_regression, k=4), LinearRegression())
    search = GridSearchCV(steps, {"selectkbest__k": [4]}, cv=2).fit(ROWS[NUMBERS], TARGET - KIND)
    found = importance_of(search, ROWS[NUMBERS])
    assert (found.columns["unused"], found.columns["far"] > found.columns["near"] > 0) == (0, True)


def test_classes_count_alike() -> None:
    """A classifier of several classes has a coefficient for each; their mean counts."""
    model = LogisticRegression(max_iter=1_000).fit(ROWS[["near", "unused"]], pd.qcut(ROWS["near"], 3, labels=False))
    found = importance_of(model, ROWS[["near", "unused"]])
    assert found.columns["near"] > 0.9


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (make_pipeline(PCA(2), LinearRegression()), "PCA goes with no column by its name"),
        (KNeighborsRegressor(), "KNeighborsRegressor gives no importances"),
    ],
)
def test_what_cannot_be_followed_is_not_known_and_says_why(model: Any, why: str) -> None:
    """No guess: features of several columns belong to none."""
    found = importance_of(model.fit(ROWS[NUMBERS], TARGET), ROWS[NUMBERS])
    assert (found.known, why in found.source) == (False, True), found.source


def test_names_that_could_be_two_columns_are_not_guessed() -> None:
    """`kind_a_b` is a category of `kind` or of `kind_a`."""
    rows = pd.DataFrame({"kind": ["x", "a_b"] * 20, "kind_a": ["b", "c"] * 20})
    found = importance_of(make_pipeline(OneHotEncoder(), LinearRegression()).fit(rows, [0.0, 1.0] * 20), rows)
    assert (found.known, "several columns" in found.source) == (False, True), found.source


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"columns": {}}', b'{"columns": {"a": -1}, "source": ""}', b'{"columns": {"a": NaN}, "source": ""}'],
)
def test_a_file_that_says_something_else_is_not_read(content: bytes) -> None:
    """Whoever may write to a run may write anything there."""
    assert ColumnImportance.from_json(content) is None


def test_what_is_written_is_read_again() -> None:
    """Shares and source."""
    found = ColumnImportance.of({"a": 3.0, "b": 1.0}, "somebody")
    assert found.columns == {"a": 0.75, "b": 0.25}
    assert ColumnImportance.from_json(found.to_json().encode()) == found
