"""How many minutes the flights of 2013 are late, and a regressor of it, whose errors are estimated without labels."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline

from benchmarks.drift_flights import SEED


def delays(rows: pd.DataFrame, features: list[str], trained_until: pd.Timestamp) -> pd.DataFrame:
    """Give the flights with the minutes that each was late as `target`, and a model's answers as `prediction`.

    Args:
        rows: The flights, as `drift_flights.flights` gives them.
        features: Their inputs.
        trained_until: The model learns from the flights before.
    """
    sys.path.insert(0, str(Path(__file__).parents[1] / "projects" / "flights"))
    data, model_of = import_module("flights.data"), import_module("flights.model")
    known = data.read_table("flights.csv.zip").dropna(subset=["arr_delay"])
    known["date"] = pd.to_datetime(known[["year", "month", "day"]])
    # as the project sorts them, so that they are the same rows
    known = known.sort_values(["date", "sched_dep_time", "carrier", "flight"], kind="stable", ignore_index=True)
    assert np.array_equal(known["arr_delay"] > data.LATE_MINUTES, rows["target"] == 1)
    found = rows[[*features, "date"]].assign(target=known["arr_delay"].to_numpy())
    training = found[found["date"] < trained_until]
    regressor = HistGradientBoostingRegressor(max_iter=100, early_stopping=False, random_state=SEED)
    model = Pipeline([*model_of.build("good", 100, SEED).steps[:-1], ("regressor", regressor)])
    model.fit(training[features], training["target"])
    return found.assign(prediction=model.predict(found[features]))
