"""Loading a model leaves its files as they were: the next load compares them with what was kept."""

import sys
from pathlib import Path

import mlflow.pyfunc
import pytest

from mlflow_ext.registry.loading import load_judged
from mlflow_ext.registry.model_files import manifest_of
from tests.integration.registered import ROWS

MODEL = """
import mlflow
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input, params=None):
        from loaded_late import answer
        return [answer()] * len(model_input)

mlflow.models.set_model(Model())
"""


def test_code_of_a_model_leaves_no_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what loading imports nor what the first prediction does writes beside a model's files."""
    # as in a process whose environment does not say otherwise
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "loaded_late.py").write_text("def answer():\n    return 7.0\n")
    mlflow.pyfunc.save_model(
        str(tmp_path / "m"),
        python_model=str(tmp_path / "model.py"),
        code_paths=[str(tmp_path / "loaded_late.py")],
        pip_requirements=[],
    )
    before = manifest_of(tmp_path / "m")
    sys.modules.pop("loaded_late", None)
    model = load_judged(tmp_path / "m")
    assert list(model.predict(ROWS[:2])) == [7.0, 7.0]
    assert Path(str(sys.modules["loaded_late"].__file__)).is_relative_to(tmp_path / "m")
    assert manifest_of(tmp_path / "m") == before
