"""`mlflow.model_evaluator`: a model's own gates inside `mlflow.models.evaluate`.

    mlflow.models.evaluate(
        model, rows, targets="late", model_type="classifier",
        evaluators=["default", "mlflow-ext"], evaluator_config={"mlflow-ext": {"model": "flights"}},
    )

It says how the gates of `flights` would judge, and changes nothing: promotions measure for themselves (`lifecycle/`).
Without a `model` in its configuration it takes no part, so a plain `mlflow.models.evaluate` is what it always was.
"""

from typing import Any, Self

VERDICT_TAG = "mlflow_ext.gates"
REASON_TAG = "mlflow_ext.gates.reason"
PASSED_METRIC = "mlflow_ext.gates.passed"
TOTAL_METRIC = "mlflow_ext.gates.total"
REPORT_FILE = "mlflow_ext/gates.json"

_CHAMPION = "champion."
_LONGEST_TAG = 5_000


class GateEvaluator:
    """Judges the metrics of an evaluation by the policy of a registered model.

    MLflow asks for no base class, and importing it here would import this module again from its registry.
    """

    @classmethod
    def can_evaluate(cls, *, model_type: str | None, evaluator_config: dict[str, Any] | None, **_: Any) -> bool:
        """Tell whether a registered model is named whose gates are to judge."""
        return isinstance((evaluator_config or {}).get("model"), str)

    def evaluate(
        self, *, model_type: str, dataset: Any, run_id: str, evaluator_config: dict[str, Any], **rest: Any
    ) -> Any:
        """Judge, and log the verdict to the run: tags, two metrics and the report as JSON.

        Args:
            model_type: `classifier` or `regressor`.
            dataset: MLflow's evaluation dataset.
            run_id: Run that the evaluation logs to.
            evaluator_config: `model`: the registered model whose policy applies.
            rest: What MLflow hands to every evaluator (`model`, `predictions`, `extra_metrics` …).

        Raises:
            MlflowException: The policy cannot be read.
        """
        from mlflow import MlflowClient
        from mlflow.models.evaluation.base import EvaluationResult

        from mlflow_ext.domain.gates import GateReport, Verdict
        from mlflow_ext.gates import judge

        policy = _policy(evaluator_config["model"])
        client = MlflowClient()
        evaluation = _Evaluation(model_type, dataset, run_id, rest)
        with _Production(client, evaluator_config["model"], policy, evaluation) as production:
            context = evaluation.context(client, policy, production)
            report = GateReport(
                results=judge(policy.gates, context),
                champion_version=production.version.version if production.version else None,
                evidence_run_id=run_id,
                details={
                    "candidate": dict(context.candidate.metrics),
                    "champion": dict(production.found.metrics) if production.found else None,
                    "rows": len(context.rows),
                },
            )
        metrics = {
            PASSED_METRIC: float(sum(result.verdict is Verdict.PASSED for result in report.results)),
            TOTAL_METRIC: float(len(report.results)),
        }
        for key, value in metrics.items():
            client.log_metric(run_id, key, value)
        client.set_tag(run_id, VERDICT_TAG, report.verdict.value)
        client.set_tag(run_id, REASON_TAG, report.reason[:_LONGEST_TAG])
        client.log_dict(run_id, report.as_dict(), REPORT_FILE)
        return EvaluationResult(metrics, {}, run_id)


class _Evaluation:
    """The evaluation at hand, to be repeated for metrics that were not measured, or for another model."""

    def __init__(self, model_type: str, dataset: Any, run_id: str, rest: dict[str, Any]) -> None:
        self._arguments = {"model_type": model_type, "dataset": dataset, "run_id": run_id}
        self._rest = rest

    def context(self, client: Any, policy: Any, production: "_Production") -> Any:
        """Give the gates what they judge: the dataset's rows, the model at hand, and the version in Production."""
        import pandas as pd

        from mlflow_ext.registry.gate_context import RunContext

        dataset, run_id = self._arguments["dataset"], self._arguments["run_id"]
        metrics = dict(client.get_run(run_id).data.metrics)
        wanted = {gate.metric for gate in policy.gates if gate.gate == "metric" and ":" not in gate.metric}
        if not wanted <= metrics.keys():
            metrics |= self.measure(self._rest.get("model"), prefix="")
        target = dataset.targets_name or policy.evaluation.target
        rows = pd.DataFrame(dataset.features_data).assign(**{target: dataset.labels_data})
        return RunContext(
            client=client,
            run_id=run_id,
            candidate=_loaded(self._rest.get("model"), 0, "the model being evaluated", metrics),
            find_champion=production.find,
            rows=rows,
            target=target,
            model_type=self._arguments["model_type"],
            find_requests=_no_requests,
            folder="mlflow_ext/gates",
        )

    def measure(self, model: Any, *, prefix: str) -> dict[str, float]:
        """Let MLflow's own evaluators measure; metric names come back without the prefix."""
        from mlflow.models.evaluation.base import resolve_evaluators_and_configs

        config = {"log_model_explainability": False, "metric_prefix": prefix or None}
        bundles = resolve_evaluators_and_configs("default", config, self._arguments["model_type"])
        found: dict[str, float] = {}
        for bundle in bundles:
            if bundle.name == "shap":
                continue
            result = bundle.evaluator.evaluate(
                **{**self._rest, "model": model}, **self._arguments, evaluator_config=bundle.config
            )
            found |= {name.removeprefix(prefix): float(value) for name, value in (result.metrics or {}).items()}
        return found


def _policy(name: str) -> Any:
    from mlflow.exceptions import MlflowException

    from mlflow_ext.config import load
    from mlflow_ext.errors import InvalidSettingsError

    try:
        return load().policy(name)
    except InvalidSettingsError as exc:
        raise MlflowException.invalid_parameter_value(str(exc)) from exc


def _no_requests() -> Any:
    from mlflow_ext.errors import MissingEvidenceError

    raise MissingEvidenceError("logged requests are replayed by promotions only, and by `mlflow-ext gates run`")


def _loaded(model: Any, version: int, name: str, metrics: dict[str, float]) -> Any:
    from mlflow_ext.registry.judged_version import LoadedVersion

    return LoadedVersion(model, version=version, name=name, directory=None, metrics=metrics)


class _Production:
    """The version in Production, measured on the same rows when a gate asks for it, under the trust of its policy."""

    def __init__(self, client: Any, name: str, policy: Any, evaluation: _Evaluation) -> None:
        self._client = client
        self._policy = policy
        self._evaluation = evaluation
        self._error: str | None = None
        self._directory: Any = None
        self.version = _champion(client, name)
        self.found: Any = None

    def __enter__(self) -> Self:
        from tempfile import TemporaryDirectory

        self._directory = TemporaryDirectory(prefix="mlflow-ext-champion-")
        return self

    def __exit__(self, *_: object) -> None:
        self._directory.cleanup()

    def find(self) -> Any:
        """Give the version in Production, or `None`."""
        from mlflow_ext.errors import EvaluationImpossibleError, MlflowExtError

        if self.version is None or self.found is not None:
            return self.found
        if self._error is None:
            try:
                self.found = self._measure()
            except MlflowExtError as exc:
                self._error = str(exc)
            # the champion's own code raises whatever it likes; the gate then says that it could not be measured
            except Exception as exc:
                self._error = f"{type(exc).__name__}: {exc}"
        if self.found is None:
            raise EvaluationImpossibleError(
                f"version {self.version.version} in Production could not be measured: {self._error}"
            )
        return self.found

    def _measure(self) -> Any:
        from pathlib import Path

        from mlflow_ext.registry.loading import open_model

        serving = self._policy.serving
        opened = open_model(
            *(self._client, self.version, Path(self._directory.name)),
            trust=serving.trust,
            publishers=serving.publishers,
        )
        metrics = self._evaluation.measure(opened.model, prefix=_CHAMPION)
        return _loaded(opened.model, self.version.version, f"version {self.version.version} in Production", metrics)


def _champion(client: Any, name: str) -> Any:
    """Find the version in Production; `None` where there is none."""
    from mlflow_ext.domain.stages import ModelVersion, Stage

    versions = client.search_model_versions(f"name = '{name}'")
    return next(
        (
            ModelVersion(name, int(version.version), run_id=version.run_id, source=version.source)
            for version in versions
            if version.current_stage == Stage.PRODUCTION
        ),
        None,
    )
