"""The seam between gates and what they judge, as Protocols: a gate reads a `GateContext` and answers `GateResult`s.

The real context is `registry/gate_context.py`, its twin `testing/gate_context.py`; one contract suite holds for both.
How gates are found is in `gate_kinds.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mlflow_ext.domain.gates import GateResult
from mlflow_ext.domain.provenance import Provenance
from mlflow_ext.domain.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from mlflow_ext.policy import GatePolicy


@dataclass(frozen=True, slots=True)
class LoggedRequests:
    """What clients sent, and what they were answered: three frames with the same rows, newest first.

    Attributes:
        meta: `request_id`, `row` (position within the request), `at`, `version` that answered.
        inputs: What was sent, by the names in the signature.
        answers: What was answered: `prediction`, or `prediction_…` for several outputs.
    """

    meta: "pd.DataFrame"
    inputs: "pd.DataFrame"
    answers: "pd.DataFrame"

    def __len__(self) -> int:
        """Give the number of rows."""
        return len(self.meta)


@dataclass(frozen=True, slots=True)
class Registered:
    """What MLflow's registry and tracking say about the candidate.

    Attributes:
        model: Registered model.
        version: Version number.
        description: The version's description, without the block that promotions write.
        model_description: The registered model's.
        tags: The version's tags.
        model_tags: The registered model's.
        run_id: Run that logged it, where one did.
        run_tags: That run's tags (`mlflow.source.git.commit` …).
        run_params: That run's parameters.
        run_metrics: That run's metrics.
        datasets: That run's datasets: `name`, `digest`, `source` and `context` (`training` …) of each.
    """

    model: str
    version: int
    description: str = ""
    model_description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    model_tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    run_tags: Mapping[str, str] = field(default_factory=dict)
    run_params: Mapping[str, str] = field(default_factory=dict)
    run_metrics: Mapping[str, float] = field(default_factory=dict)
    datasets: tuple[Mapping[str, str], ...] = ()

    def tag(self, name: str) -> str:
        """Give a tag of the version, else of the registered model, without spaces around; empty where there is none."""
        return self.tags.get(name, "").strip() or self.model_tags.get(name, "").strip()


@dataclass(frozen=True, slots=True)
class AskedFor:
    """The promotion whose gates judge.

    Attributes:
        id: Its number.
        model: Registered model.
        version: Candidate.
        source: What asked for it: `registry`, `cli`, `rest` …
        requested_by: Actor, as far as known.
        dry_run: Whether nothing follows from the verdict.
        attempt: How often a worker has taken it.
        run_id: MLflow run that keeps the evidence.
    """

    id: int
    model: str
    version: int
    source: str = ""
    requested_by: str = ""
    dry_run: bool = False
    attempt: int = 0
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Rerun:
    """A training project that is to be run once more.

    Attributes:
        project: Path or git URI, as `mlflow run` takes it.
        entry_point: Entry point of the project.
        parameters: Parameters of the candidate's run that are passed to it.
        env_manager: As in `mlflow run`.
        timeout_s: Seconds after which it is ended.
    """

    project: str
    entry_point: str
    parameters: tuple[str, ...]
    env_manager: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class LoadCost:
    """What loading a version costs, the libraries that all models need left out.

    Attributes:
        first_s: Seconds of the first load in a process, with the imports that this model alone needs.
        load_s: Median seconds of further loads.
        peak_bytes: Greatest resident memory while it was loaded and answered, above that before.
        resident_bytes: Resident memory with the model loaded, above that before.
    """

    first_s: float
    load_s: float
    peak_bytes: int
    resident_bytes: int


class RequestLog(Protocol):
    """The prediction log, as far as it is in segments (adapter: `store/logged_requests.py`)."""

    def newest(self, model: str, rows: int) -> LoggedRequests:
        """Give the newest rows that clients were answered for, at most so many; of every version.

        Raises:
            MissingEvidenceError: No request is logged.
            UnavailableError: The log does not answer.
        """
        ...


class JudgedVersion(Protocol):
    """One side of a comparison, loaded and ready to answer."""

    @property
    def version(self) -> int:
        """Number in the registry; 0 for a model that is not registered."""
        ...

    @property
    def metrics(self) -> Mapping[str, float]:
        """Metrics on the evaluation rows by name, as `mlflow.models.evaluate` gives them."""
        ...

    @property
    def directory(self) -> Path:
        """Where its files are; they are for reading.

        Raises:
            MissingEvidenceError: Only the loaded model is at hand.
        """
        ...

    @property
    def signature(self) -> Signature | None:
        """What it takes and gives; `None` where it was logged without a signature."""
        ...

    @property
    def classes(self) -> "NDArray[Any] | None":
        """Class labels in the order of the columns of `scores`; `None` where the model does not tell."""
        ...

    def load_cost(self, frame: "pd.DataFrame") -> LoadCost:
        """Load its files in a process of its own, and let it answer these rows there.

        Raises:
            MissingEvidenceError: Only the loaded model is at hand.
            GateUnavailableError: The process was killed, or took too long.
            EvaluationImpossibleError: It cannot be loaded there.
        """
        ...

    def predict(self, frame: "pd.DataFrame") -> "NDArray[Any]":
        """Predict.

        Args:
            frame: Rows with at least the columns of the model's signature; others are left out.

        Returns:
            One value a row (shape `(rows,)`): labels of a classifier, numbers of a regressor.

        Raises:
            EvaluationImpossibleError: The model's own code failed, or columns are missing.
        """
        ...

    def scores(self, frame: "pd.DataFrame") -> "NDArray[np.float64] | None":
        """Give class probabilities, shape `(rows, classes)`; `None` where the model has none.

        Raises:
            EvaluationImpossibleError: As for `predict`.
        """
        ...


class GateContext(Protocol):
    """What was measured and what may be measured. Everything is computed when asked for, and once."""

    @property
    def candidate(self) -> JudgedVersion:
        """The version that is to go to Production."""
        ...

    @property
    def champion(self) -> JudgedVersion | None:
        """The version in Production; `None` when there is none.

        Raises:
            EvaluationImpossibleError: There is one, and it cannot be loaded or measured; the message says why.
        """
        ...

    @property
    def rows(self) -> "pd.DataFrame":
        """Evaluation rows: features, target, and whatever other columns the file has. Not to be changed."""
        ...

    @property
    def target(self) -> str:
        """Column of `rows` with the ground truth."""
        ...

    @property
    def model_type(self) -> Literal["classifier", "regressor"]:
        """What kind of model the policy says it is."""
        ...

    @property
    def requests(self) -> LoggedRequests:
        """What clients sent lately: as many rows as the policy's gates ask for (`GatePolicy.requests_wanted`).

        Raises:
            MissingEvidenceError: No request is logged, or none can be replayed here; the message says why.
        """
        ...

    def read_rows(self, source: str) -> "pd.DataFrame":
        """Read other rows of the candidate's, such as those it was trained on.

        Args:
            source: As `evaluation.data` of a policy: `artifact:PATH` inside the candidate's run, or a path or URI.

        Raises:
            MissingEvidenceError: There are none; the message says where to log them.
            EvaluationImpossibleError: The file is neither Parquet nor CSV.
        """
        ...

    @property
    def registered(self) -> Registered:
        """What the registry says about the candidate.

        Raises:
            MissingEvidenceError: It is no registered version.
        """
        ...

    @property
    def promotion(self) -> AskedFor:
        """The promotion whose gates judge.

        Raises:
            MissingEvidenceError: Nobody asked for one: the model is only evaluated.
        """
        ...

    def rerun(self, asked: Rerun, parameters: Mapping[str, str], commit: str | None) -> Mapping[str, float]:
        """Run a training project once more, where it leaves no trace, and give the metrics that it logged.

        Raises:
            GateUnavailableError: It took too long, or was ended by a signal.
            EvaluationImpossibleError: It failed.
        """
        ...

    def provenance(self, publishers: Mapping[str, str]) -> Provenance:
        """Examine the candidate's files, without loading them.

        Args:
            publishers: File with the public key by name; where empty, those that the policy allows to sign.

        Raises:
            MissingEvidenceError: Only the loaded model is at hand.
        """
        ...

    def save_picture(self, name: str, figure: "Figure") -> str:
        """Keep a picture with the evidence, and close it; gives its artifact path.

        Args:
            name: A word or two; a name that was used before in this context gets a number.
            figure: A Matplotlib figure.
        """
        ...

    def save_table(self, name: str, frame: "pd.DataFrame") -> str:
        """Keep rows with the evidence as CSV; gives their artifact path."""
        ...


class Gate(Protocol):
    """A gate: what an entry point of the group `mlflow_ext.gates` names."""

    @property
    def policy(self) -> "type[GatePolicy]":
        """The gate's section of the policy; its `gate` is `Literal[<name of the entry point>]`."""
        ...

    def judge(self, policy: Any, context: GateContext) -> GateResult | Sequence[GateResult]:
        """Judge.

        Args:
            policy: An instance of `self.policy`.
            context: What was measured.

        Returns:
            One result, or several where the gate has several bounds. Their `importance` is set from the policy.

        Raises:
            MissingEvidenceError: There is nothing to judge by; the result is `inconclusive`.
            Exception: Anything else makes the result `error`.
        """
        ...
