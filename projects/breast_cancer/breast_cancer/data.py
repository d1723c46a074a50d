"""The breast cancer data that scikit-learn ships, and how it is parted.

Which rows train and which rows judge is decided in `train.py` and `retrain.py`.
"""

import pandas as pd
from sklearn.datasets import load_breast_cancer

TARGET = "target"
FEATURES = [str(name) for name in load_breast_cancer().feature_names]


def load(seed: int) -> pd.DataFrame:
    """Read all 569 rows, shuffled: they have no order in time.

    Returns:
        30 columns of float64, `FEATURES`, and `TARGET` (1: benign, 0: malignant).
    """
    rows: pd.DataFrame = load_breast_cancer(as_frame=True).frame
    return rows.sample(frac=1, random_state=seed).reset_index(drop=True)


def split(rows: pd.DataFrame, holdout: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Part rows at a point of their order: the first ones to learn from, the last share to judge by."""
    cut = len(rows) - round(len(rows) * holdout)
    return rows.iloc[:cut].reset_index(drop=True), rows.iloc[cut:].reset_index(drop=True)
