"""The twin of `registry/gate_context.py`: rows in memory, versions that are functions, evidence in dictionaries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlflow_ext.domain.provenance import Provenance
from mlflow_ext.domain.signature import Signature
from mlflow_ext.errors import EvaluationImpossibleError, MissingEvidenceError
from mlflow_ext.gate_context import AskedFor, LoadCost, LoggedRequests, Registered, Rerun

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def _no_model(_: "pd.DataFrame") -> Any:
    raise EvaluationImpossibleError("this version has metrics only and cannot answer rows")


@dataclass(slots=True)
class MemoryVersion:
    """The `JudgedVersion` port.

    Attributes:
        version: Number in the registry.
        metrics: Its metrics on the evaluation rows.
        answer: Predicts one value a row.
        probabilities: Gives class probabilities; `None` for a model without.
        classes: Class labels in the order of the columns of its probabilities.
        directory: Its files.
        signature: What it takes and gives.
        cost: What loading it costs; `None` where only the model is at hand.
    """

    version: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)
    answer: "Callable[[pd.DataFrame], NDArray[Any]]" = _no_model
    probabilities: "Callable[[pd.DataFrame], NDArray[np.float64]] | None" = None
    classes: "NDArray[Any] | None" = None
    directory: Path = Path()
    signature: Signature | None = None
    cost: LoadCost | None = None

    def load_cost(self, frame: "pd.DataFrame") -> LoadCost:
        """Give what loading it costs."""
        if self.cost is None:
            raise MissingEvidenceError("the files are not at hand, only the loaded model is")
        return self.cost

    def predict(self, frame: "pd.DataFrame") -> "NDArray[Any]":
        """Predict one value a row."""
        return self.answer(frame)

    def scores(self, frame: "pd.DataFrame") -> "NDArray[np.float64] | None":
        """Give class probabilities, where it has any."""
        return None if self.probabilities is None else self.probabilities(frame)


@dataclass(slots=True)
class MemoryRequests:
    """The `RequestLog` port.

    Attributes:
        logged: What clients sent, newest first, by model.
    """

    logged: dict[str, LoggedRequests] = field(default_factory=dict)

    def newest(self, model: str, rows: int) -> LoggedRequests:
        """Give the newest rows."""
        found = self.logged.get(model)
        if found is None or len(found) == 0:
            raise MissingEvidenceError(f"no request to {model} is logged")
        return LoggedRequests(found.meta.head(rows), found.inputs.head(rows), found.answers.head(rows))


@dataclass(slots=True)
class MemoryContext:
    """The `GateContext` port.

    Attributes:
        candidate: The version to be judged.
        rows: Evaluation rows.
        production: The version in Production, or `None`.
        production_fault: Why it cannot be measured.
        target: Column with the ground truth.
        model_type: What the policy says.
        logged: What clients sent lately, or `None`.
        entry: What the registry says about the candidate, or `None`.
        asked_for: The promotion, or `None`.
        files: What the candidate's files show, or `None`.
        others: Other rows by source.
        again: Metrics that a second run of the training logs.
        reruns: Project, parameters and commit of each second run.
        pictures: PNG by artifact path.
        tables: Rows by artifact path.
    """

    candidate: MemoryVersion
    rows: "pd.DataFrame"
    production: MemoryVersion | None = None
    production_fault: str | None = None
    target: str = "target"
    model_type: Literal["classifier", "regressor"] = "classifier"
    logged: LoggedRequests | None = None
    entry: Registered | None = None
    asked_for: AskedFor | None = None
    files: Provenance | None = None
    others: "dict[str, pd.DataFrame]" = field(default_factory=dict)
    again: Mapping[str, float] = field(default_factory=dict)
    reruns: list[tuple[Rerun, dict[str, str], str | None]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    tables: "dict[str, pd.DataFrame]" = field(default_factory=dict)

    @property
    def champion(self) -> MemoryVersion | None:
        """Give the version in Production."""
        if self.production_fault is not None:
            raise EvaluationImpossibleError(self.production_fault)
        return self.production

    @property
    def requests(self) -> LoggedRequests:
        """Give what clients sent lately."""
        if self.logged is None:
            raise MissingEvidenceError("no request is logged")
        return self.logged

    def read_rows(self, source: str) -> "pd.DataFrame":
        """Read other rows of the candidate's."""
        if source not in self.others:
            raise MissingEvidenceError(f"there is no {source}; log it in the run that logs the model")
        return self.others[source]

    @property
    def registered(self) -> Registered:
        """Give what the registry says about the candidate."""
        if self.entry is None:
            raise MissingEvidenceError("the model being evaluated is not registered")
        return self.entry

    def rerun(self, asked: Rerun, parameters: Mapping[str, str], commit: str | None) -> Mapping[str, float]:
        """Give the metrics of the second run, and remember what it was asked; without any it has failed."""
        self.reruns.append((asked, dict(parameters), commit))
        if not self.again:
            raise EvaluationImpossibleError(f"{asked.project} ended with code 1")
        return self.again

    def provenance(self, publishers: Mapping[str, str]) -> Provenance:
        """Give what its files show; of publishers it knows as little as of keys."""
        if self.files is None:
            raise MissingEvidenceError("the model being evaluated is not registered")
        return self.files

    @property
    def promotion(self) -> AskedFor:
        """Give the promotion whose gates judge."""
        if self.asked_for is None:
            raise MissingEvidenceError("the model is evaluated without a promotion")
        return self.asked_for

    def save_picture(self, name: str, figure: "Figure") -> str:
        """Keep a picture."""
        from io import BytesIO

        from matplotlib import pyplot

        drawn = BytesIO()
        figure.savefig(drawn, format="png")
        pyplot.close(figure)
        path = _free(f"gates/{name}", "png", self.pictures)
        self.pictures[path] = drawn.getvalue()
        return path

    def save_table(self, name: str, frame: "pd.DataFrame") -> str:
        """Keep rows."""
        path = _free(f"gates/{name}", "csv", self.tables)
        self.tables[path] = frame.copy()
        return path


def _free(stem: str, ending: str, taken: Mapping[str, Any]) -> str:
    number, path = 1, f"{stem}.{ending}"
    while path in taken:
        number += 1
        path = f"{stem}-{number}.{ending}"
    return path
