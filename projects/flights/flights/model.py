"""The two pipelines: one that is good, one that is weak on purpose, so that a promotion has something to decide.

Fitting and logging them is `run.py`'s part.
"""

from typing import Literal

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from .data import CATEGORIES, NUMBERS

Variant = Literal["weak", "good"]

SKOPS_TYPES = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
"""What skops does not trust by itself in these pipelines: plain arrays of tree nodes, no code."""


def build(variant: Variant, max_iter: int, seed: int) -> Pipeline:
    """Make an unfitted pipeline that takes the columns of `data.FEATURES` and gives the probability of being late.

    Both variants accept the same columns, so a promotion from one to the other changes nothing for clients. Missing
    numbers and categories never seen in training are handled as missing values.

    Args:
        variant: `good` looks at everything; `weak` sees the schedule only and is one step of boosting deep.
        max_iter: Number of boosting steps of the good variant.
        seed: For the classifier.
    """
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
