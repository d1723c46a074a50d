"""What loading costs, measured in real processes: a model's own memory and time, and what cannot be measured."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsRegressor

from mlflow_ext.errors import EvaluationImpossibleError
from mlflow_ext.registry.load_cost import measure_load


def test_a_models_memory_is_its_own(tmp_path: Path) -> None:
    """One that keeps 64 MB of rows takes that much more than before, and no library's share."""
    rows = np.random.default_rng(1).normal(size=(2_000_000, 4))
    model = KNeighborsRegressor(1, algorithm="brute").fit(rows, rows[:, 0])
    mlflow.sklearn.save_model(model, str(tmp_path / "model"), serialization_format="skops", pip_requirements=[])
    found = measure_load(tmp_path / "model", pd.DataFrame(rows[:2]))
    assert 64e6 < found.resident_bytes <= found.peak_bytes < 600e6
    assert 0 < found.load_s < 60
    assert found.first_s > 0


def test_files_that_cannot_be_loaded_say_so(tmp_path: Path) -> None:
    """The model's own words, and no figure."""
    with pytest.raises(EvaluationImpossibleError, match="cannot be loaded anew"):
        measure_load(tmp_path, pd.DataFrame({"x": [1.0]}))
