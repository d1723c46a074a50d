"""Models are loaded in one place, behind the checks."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [file for room in ("mlflow_ext", "serving", "drift") for file in sorted((ROOT / room).rglob("*.py"))]
LOADS = re.compile(
    r"\b(?:pyfunc|sklearn|onnx|xgboost|lightgbm|catboost|pytorch|tensorflow|keras|transformers|spark)\.load_model\("
    r"|\bload_pyfunc\(|\b(?:pickle|cloudpickle|dill|joblib)\.loads?\(|\bskops\.io\.loads?\(|\bread_pickle\("
)


def test_one_file_loads_models() -> None:
    """Nothing else of ours calls a loader of MLflow's, or unpickles: what is refused there is refused everywhere."""
    found = {str(file.relative_to(ROOT)) for file in SOURCES if LOADS.search(file.read_text(encoding="utf-8"))}
    assert found == {"mlflow_ext/registry/loading.py"}


@pytest.mark.parametrize("line", ["mlflow.pyfunc.load_model(x)", "pickle.loads(data)", "skops.io.load(file)"])
def test_the_search_finds_loaders(line: str) -> None:
    """What it looks for, it would see."""
    assert LOADS.search(line)
