"""A model version as the model host holds it: with its model, its signature, and the plan that computes here."""

from dataclasses import dataclass
from typing import Any, Protocol

from serving.plan import Plan


class Predictor(Protocol):
    """What a codec needs of a model: MLflow's `PyFuncModel`."""

    @property
    def metadata(self) -> Any:
        """Give the model's MLflow metadata (`mlflow.models.Model`)."""
        ...

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """Predict."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class OpenedVersion:
    """A model version whose model is loaded in this process.

    Attributes:
        model: Registered model.
        version: Version number.
        source: Where its files came from.
        predictor: The model.
        input_schema: MLflow's input schema, or `None`.
        plan: How usual requests are answered without MLflow's code; `None` where only that will do.
        example: The input example, as a request of MLflow's scoring protocol; `None` where none is kept.
    """

    model: str
    version: int
    source: str | None
    predictor: Predictor
    input_schema: Any
    plan: Plan | None = None
    example: bytes | None = None
