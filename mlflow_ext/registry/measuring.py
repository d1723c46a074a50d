"""Measuring candidate and champion on the same rows and judging them, all logged into the promotion's MLflow run.

This loads MLflow and the models' own code; it runs only inside the evaluation process (`evaluation.py`).
"""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import mlflow.models
from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.pandas_dataset import PandasDataset
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException, RestException
from mlflow.models.evaluation.default_evaluator import BuiltInEvaluator
from requests.exceptions import RequestException

from mlflow_ext.domain.gates import Evidence, GateReport, Verdict
from mlflow_ext.domain.pins import Manifest
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import EvaluationImpossibleError, MlflowExtError, NotFoundError, UnavailableError
from mlflow_ext.gate_context import AskedFor
from mlflow_ext.gates import judge
from mlflow_ext.policy import EvaluationPolicy, ModelPolicy
from mlflow_ext.registry.columns import features
from mlflow_ext.registry.evaluation_data import EvaluationData, load_rows
from mlflow_ext.registry.evaluation_run import promotion_run
from mlflow_ext.registry.gate_context import RunContext
from mlflow_ext.registry.importance import keep_importance
from mlflow_ext.registry.judged_version import LoadedVersion
from mlflow_ext.registry.loading import open_model
from mlflow_ext.registry.requests_file import read_requests
from mlflow_ext.registry.twins.judging import judge_twin

_FINAL_ANSWERS = frozenset(
    {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "PERMISSION_DENIED", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"}
)
"""Codes with which MLflow's server says that asking again would not help."""


def measure(request: dict[str, Any]) -> GateReport:
    """Measure both versions, let the policy's gates judge, and log what was measured.

    Raises:
        EvaluationImpossibleError: Trying again would not help.
        UnavailableError: MLflow does not answer.
    """
    started = time.monotonic()
    url = request["mlflow_url"]
    mlflow.set_tracking_uri(url)
    mlflow.set_registry_uri(url)
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    policy = ModelPolicy.model_validate(request["policy"])
    candidate = _version(request["candidate"])
    champion = _version(request["champion"]) if request["champion"] else None
    with _mlflow_answers("the promotion's run"):
        run_id = promotion_run(
            client,
            promotion_id=request["promotion_id"],
            model=candidate.model,
            version=candidate.version,
            champion_version=champion.version if champion else None,
            dry_run=request["dry_run"],
        )
    try:
        rows = load_rows(client, candidate.model, candidate.version, candidate.run_id, policy.evaluation)
        source = _source(rows.source)
        dataset = PandasDataset(rows.frame, source, targets=policy.evaluation.target, name="evaluation")
        with mlflow.start_run(run_id=run_id):
            bench = _Bench(client, dataset, rows, policy, Path(request["models"]))
            mine = bench.measure(candidate, "candidate.")
            manifest, model = bench.manifest, bench.model
            with _mlflow_answers("the importance of its columns"):
                keep_importance(client, candidate, mine.raw, rows.frame[bench.columns])
            production = _Production(champion)
            if champion is not None:
                try:
                    with _without_plots():
                        production.found = bench.measure(champion, "champion.", request["champion_files"])
                except (EvaluationImpossibleError, NotFoundError) as exc:
                    production.error = str(exc)
            context = RunContext(
                client=client,
                run_id=run_id,
                candidate=mine,
                find_champion=production.find,
                rows=rows.frame,
                target=policy.evaluation.target,
                model_type=policy.evaluation.model_type,
                find_requests=lambda: read_requests(request["requests"]),
                version=candidate,
                publishers=policy.serving.publishers,
                asked_for=_asked_for(request, run_id),
            )
            results = judge(policy.gates, context)
            # nobody would serve what the gates refuse
            refused = GateReport(results).verdict in (Verdict.FAILED, Verdict.ERROR)
            with _mlflow_answers("the twin's file"):
                judged = (policy.serving, rows.frame, policy.evaluation.target)
                twin = None if refused else judge_twin(client, run_id, model, *judged)
    except MlflowExtError:
        with _mlflow_answers("the promotion's run"):
            client.set_terminated(run_id, RunStatus.to_string(RunStatus.FAILED))
        raise
    evidence = Evidence(
        candidate=dict(mine.metrics),
        champion=dict(production.found.metrics) if production.found else None,
        champion_version=champion.version if champion else None,
        champion_error=production.error,
        rows=len(rows.frame),
        dataset={
            "name": dataset.name,
            "digest": dataset.digest,
            "source": rows.source,
            "unlabelled_rows": str(rows.unlabelled),
        },
        run_id=run_id,
        duration_s=round(time.monotonic() - started, 3),
        manifest=manifest.as_list() if manifest else None,
        twin=twin.as_dict() if twin else None,
    )
    return GateReport(
        results=results,
        champion_version=evidence.champion_version,
        evidence_run_id=run_id,
        details=evidence.as_dict(),
    )


@dataclass
class _Production:
    """The version in Production, as far as it could be measured."""

    version: ModelVersion | None
    found: LoadedVersion | None = None
    error: str | None = None

    def find(self) -> LoadedVersion | None:
        if self.version is not None and self.found is None:
            raise EvaluationImpossibleError(
                f"version {self.version.version} in Production could not be measured: {self.error}"
            )
        return self.found


class _Bench:
    """The rows, and how each version is measured on them."""

    def __init__(
        self,
        client: MlflowClient,
        dataset: Any,
        rows: EvaluationData,
        policy: ModelPolicy,
        models: Path,
    ) -> None:
        self._client = client
        self._dataset = dataset
        self._rows = rows
        self._policy: EvaluationPolicy = policy.evaluation
        self._models = models
        self._trust, self._publishers = policy.serving.trust, policy.serving.publishers
        self.manifest: Manifest | None = None
        """Files of the version that was measured last."""
        self.model: Any = None
        """Its model."""
        self.columns: list[str] = []
        """Columns of the rows that it takes."""

    def measure(self, version: ModelVersion, prefix: str, pinned: list[list[Any]] | None = None) -> LoadedVersion:
        """Load a version and evaluate it; metrics come back without the prefix under which they are logged."""
        named = f"version {version.version} of {version.model}"
        files = Manifest.from_list(pinned) if pinned is not None else None
        try:
            opened = open_model(
                self._client, version, self._models, trust=self._trust, publishers=self._publishers, pinned=files
            )
        except UnavailableError:
            raise
        except MlflowExtError as exc:
            raise EvaluationImpossibleError(str(exc)) from exc
        # a model's own code raises whatever it likes; the child process is where that must end
        except Exception as exc:
            raise EvaluationImpossibleError(
                f"{named} cannot be loaded here: {_first_line(exc)}; log it with the versions of "
                "scikit-learn and MLflow that this installation has"
            ) from exc
        model = self.model = opened.model
        self.manifest = opened.manifest
        columns = self.columns = features(model, self._rows.frame, self._policy.target, named, self._rows.source)
        with _mlflow_answers(f"the evaluation of {named}"):
            try:
                result = mlflow.models.evaluate(
                    model,
                    self._dataset,
                    model_type=self._policy.model_type,
                    evaluators="default",
                    feature_names=columns,
                    evaluator_config={"metric_prefix": prefix, "log_model_explainability": False},
                )
            except (MlflowException, RequestException):
                raise
            # as above: predicting runs the model's own code
            except Exception as exc:
                raise EvaluationImpossibleError(
                    f"{named} cannot be evaluated on {self._rows.source}: {_first_line(exc)}"
                ) from exc
        metrics = {name.removeprefix(prefix): float(value) for name, value in result.metrics.items()}
        return LoadedVersion(model, version=version.version, name=named, directory=opened.directory, metrics=metrics)


@contextmanager
def _without_plots() -> Iterator[None]:
    """Leave the champion's plots out: they cost a second of CPU, and its own promotion's run has shown them."""
    kept = BuiltInEvaluator._log_image_artifact
    # MLflow has no setting for it
    BuiltInEvaluator._log_image_artifact = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        BuiltInEvaluator._log_image_artifact = kept  # type: ignore[method-assign]


def _source(location: str) -> DatasetSource:
    """Tell MLflow where the rows came from, where it knows such places."""
    with warnings.catch_warnings():
        # for a local path it warns that two of its own classes would do, which nobody can act on
        warnings.filterwarnings("ignore", message="The specified dataset source can be interpreted")
        try:
            return resolve_dataset_source(location)
        except MlflowException:
            return CodeDatasetSource(tags={"location": location})


@contextmanager
def _mlflow_answers(what: str) -> Iterator[None]:
    """Tell a server that does not answer from a request that can never be answered."""
    try:
        yield
    except RequestException as exc:
        raise UnavailableError(f"MLflow's server does not answer: {exc}") from exc
    except MlflowException as exc:
        from_server = isinstance(exc, RestException) or str(exc.message).startswith("API request to")
        if from_server and exc.error_code not in _FINAL_ANSWERS:
            raise UnavailableError(f"MLflow's server does not answer: {_first_line(exc)}") from exc
        raise EvaluationImpossibleError(f"MLflow refused {what}: {_first_line(exc)}") from exc


def _asked_for(request: dict[str, Any], run_id: str) -> AskedFor:
    return AskedFor(
        id=request["promotion_id"],
        model=request["candidate"]["model"],
        version=request["candidate"]["version"],
        source=request["source"],
        requested_by=request["requested_by"],
        dry_run=request["dry_run"],
        attempt=request["attempt"],
        run_id=run_id,
    )


def _version(document: dict[str, Any]) -> ModelVersion:
    return ModelVersion(
        model=document["model"],
        version=document["version"],
        run_id=document["run_id"],
        source=document["source"],
        workspace=document["workspace"],
    )


def _first_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return f"{type(exc).__name__}: {lines[0][:500]}" if lines else type(exc).__name__
