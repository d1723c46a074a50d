"""`mlflow.model_evaluator`: our gates inside `mlflow.models.evaluate(..., evaluators="mlflow-ext")`."""

from typing import Any

from mlflow.models.evaluation.base import ModelEvaluator


class GateEvaluator(ModelEvaluator):
    """Judges an evaluation by the model's policy."""

    @classmethod
    def can_evaluate(cls, *, model_type: str, evaluator_config: dict[str, Any], **_: Any) -> bool:
        """Tell whether this evaluator takes part."""
        return False

    def evaluate(self, **_: Any) -> Any:
        """Judge."""
        raise TypeError("this evaluator takes no part in evaluations yet")
