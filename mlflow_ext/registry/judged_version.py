"""One side of a comparison on MLflow: a loaded model that answers with arrays (`JudgedVersion` of `gate_context.py`).

How it was fetched, checked and loaded is in `loading.py`; how its metrics were measured in `measuring.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.pyfunc import PyFuncModel
from numpy.typing import NDArray

from mlflow_ext.domain.signature import Signature
from mlflow_ext.errors import EvaluationImpossibleError, MissingEvidenceError
from mlflow_ext.gate_context import LoadCost
from mlflow_ext.registry.columns import features, signature
from mlflow_ext.registry.load_cost import measure_load


class LoadedVersion:
    """A version with its files, its model and its metrics."""

    def __init__(
        self,
        model: PyFuncModel | None,
        *,
        version: int,
        name: str,
        directory: Path | None,
        metrics: Mapping[str, float],
    ) -> None:
        """Take the model (`None`: only its predictions are known) and what is known about it, its name in messages."""
        self._model = model
        self._name = name
        self._kept: dict[str, tuple[pd.DataFrame, Any]] = {}
        self._load_cost: LoadCost | None = None
        self.version = version
        self._directory = directory
        self.metrics = metrics

    @property
    def directory(self) -> Path:
        """Where its files are."""
        if self._directory is None:
            raise MissingEvidenceError(f"the files of {self._name} are not at hand, only the loaded model is")
        return self._directory

    @property
    def signature(self) -> Signature | None:
        """What it takes and gives."""
        return None if self._model is None else signature(self._model)

    @property
    def classes(self) -> NDArray[Any] | None:
        """Class labels, where the model under MLflow's wrapper tells them."""
        found = getattr(self.raw, "classes_", None)
        return None if found is None or np.ndim(found) != 1 else np.asarray(found)

    def load_cost(self, frame: pd.DataFrame) -> LoadCost:
        """Load its files in a process of its own, once, whoever asks."""
        directory = self.directory
        if self._load_cost is None:
            own = frame[features(self._model, frame, None, self._name, "the rows given")]
            self._load_cost = measure_load(directory, own)
        return self._load_cost

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Predict one value a row."""
        answers: NDArray[Any] = self._once("predict", frame, self._predict)
        return answers

    def scores(self, frame: pd.DataFrame) -> NDArray[np.float64] | None:
        """Give class probabilities, where the model has any."""
        raw = self.raw
        if not callable(getattr(raw, "predict_proba", None)):
            return None
        scores: NDArray[np.float64] = self._once(
            "scores", frame, lambda own: np.asarray(raw.predict_proba(own), dtype=np.float64)
        )
        return scores

    def _predict(self, own: pd.DataFrame) -> NDArray[Any]:
        answer = self._model.predict(own)  # type: ignore[union-attr]  # `_once` asked
        values = answer.to_numpy() if isinstance(answer, pd.DataFrame | pd.Series) else np.asarray(answer)
        if values.ndim == 2 and values.shape[1] == 1:
            return values[:, 0]
        if values.ndim == 2 and self.classes is not None and values.shape[1] == len(self.classes):
            # logged with pyfunc_predict_fn="predict_proba"
            return np.asarray(self.classes[values.argmax(axis=1)])
        if values.ndim != 1 or len(values) != len(own):
            raise ValueError(f"{len(own)} rows gave answers of shape {values.shape}, not one value a row")
        return values

    @property
    def raw(self) -> Any:
        """The model under MLflow's wrapper; `None` where there is none."""
        if self._model is None:
            return None
        try:
            return self._model.get_raw_model()
        # MLflow's word for a flavor that has none
        except NotImplementedError:
            return None

    def _once(self, what: str, frame: pd.DataFrame, compute: Any) -> Any:
        kept = self._kept.get(what)
        # several gates ask for the same evaluation rows
        if kept is not None and kept[0] is frame:
            return kept[1]
        if self._model is None:
            raise EvaluationImpossibleError(f"{self._name} cannot answer rows: predictions were given, and no model")
        own = frame[features(self._model, frame, None, self._name, "the rows given")]
        try:
            answer = compute(own)
        # predicting runs the model's own code, which raises whatever it likes
        except Exception as exc:
            raise EvaluationImpossibleError(
                f"{self._name} cannot answer these {len(frame)} rows: {type(exc).__name__}: {exc}"
            ) from exc
        self._kept[what] = (frame, answer)
        return answer
