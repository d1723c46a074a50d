"""The pipelines: a good one, one that can learn on, and one that is weak on purpose.

Fitting and logging them is `run.py`'s part.
"""

from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from .data import CATEGORIES, NUMBERS

Variant = Literal["weak", "good", "online"]

SKOPS_TYPES = ["numpy.dtype", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
"""What skops does not trust by itself in these pipelines: types of numbers and plain arrays of tree nodes, no code."""


def build(variant: Variant, max_iter: int, seed: int) -> Pipeline:
    """Make an unfitted pipeline that takes the columns of `data.FEATURES` and gives the probability of being late.

    All variants accept the same columns, so a promotion from one to the other changes nothing for clients. Missing
    numbers and categories never seen in training are handled as missing values.

    Args:
        variant: `good` looks at everything; `online` too, and can learn on; `weak` sees the schedule only and is one
            step of boosting deep.
        max_iter: Number of boosting steps of the good variant.
        seed: For the classifier.
    """
    if variant == "online":
        return _online(seed)
    good = variant == "good"
    categories, numbers = (CATEGORIES, NUMBERS) if good else (["origin"], ["sched_dep_minute", "distance"])
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    columns = ColumnTransformer([("categories", encoder, categories), ("numbers", "passthrough", numbers)])
    classifier = HistGradientBoostingClassifier(
        max_iter=max_iter if good else 1,
        max_leaf_nodes=31 if good else 3,
        # no held-out rows of its own: the evaluation rows are held out in time, by the caller
        early_stopping=False,
        random_state=seed,
    )
    return Pipeline([("columns", columns), ("classifier", classifier)])


def learn_on(pipeline: Pipeline, rows: pd.DataFrame, target: "pd.Series[Any]") -> None:
    """Let a fitted `online` pipeline learn from further rows, in their order; how it reads its columns stays as it is.

    Raises:
        ValueError: It is not one that can.
    """
    classifier = pipeline[-1]
    if not isinstance(classifier, SGDClassifier):
        kind = type(classifier).__name__
        # no argument of a wrong type: the version in Production is another than was thought
        raise ValueError(f"a {kind} cannot learn on; train one with variant=online")  # noqa: TRY004
    classifier.partial_fit(pipeline[:-1].transform(rows), target)


def _online(seed: int) -> Pipeline:
    numbers = Pipeline([("known", SimpleImputer()), ("scaled", StandardScaler())])
    encoder = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer([("categories", encoder, CATEGORIES), ("numbers", numbers, NUMBERS)])
    # steps of one size: what comes late is learned as readily as what came first
    classifier = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.002, random_state=seed)
    return Pipeline([("columns", columns), ("classifier", classifier)])
