"""`mlflow.model_evaluator`: a model's own gates inside `mlflow.models.evaluate`.

    mlflow.models.evaluate(
        model, rows, targets="late", model_type="classifier",
        evaluators=["default", "mlflow-ext"], evaluator_config={"mlflow-ext": {"model": "flights"}},
    )

It says how the gates of `flights` would judge, and changes nothing: promotions measure for themselves (`lifecycle/`).
Without a `model` in its configuration it takes no part, so a plain `mlflow.models.evaluate` is what it always was.
"""

from typing import Any

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

        from mlflow_ext.domain.gates import Evidence, Verdict
        from mlflow_ext.gates import judge

        name = evaluator_config["model"]
        policy = _policy(name)
        client = MlflowClient()
        evaluation = _Evaluation(model_type, dataset, run_id, rest)
        wanted = {gate.metric for gate in policy.gates}
        candidate = dict(client.get_run(run_id).data.metrics)
        if not wanted <= candidate.keys():
            candidate |= evaluation.measure(rest.get("model"), prefix="")
        champion = _champion(client, name) if any(_compares(gate) for gate in policy.gates) else None
        beside, error = _measure_champion(client, evaluation, champion, policy)
        evidence = Evidence(
            candidate=candidate,
            champion=beside,
            champion_version=champion.version if champion else None,
            champion_error=error,
            rows=len(dataset.features_data),
            run_id=run_id,
        )
        report = judge(policy, evidence)
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


def _compares(gate: Any) -> bool:
    return gate.min_absolute_change is not None or gate.min_relative_change is not None


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


def _measure_champion(
    client: Any, evaluation: _Evaluation, champion: Any, policy: Any
) -> tuple[dict[str, float] | None, str | None]:
    """Measure the version in Production on the same rows, under the trust that its policy gives."""
    if champion is None:
        return None, None
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from mlflow_ext.errors import MlflowExtError
    from mlflow_ext.registry.loading import open_model

    try:
        with TemporaryDirectory(prefix="mlflow-ext-champion-") as directory:
            opened = open_model(client, champion, Path(directory), trust=policy.serving.trust)
            return evaluation.measure(opened.model, prefix=_CHAMPION), None
    except MlflowExtError as exc:
        return None, str(exc)
    # the champion's own code raises whatever it likes; the gate then says that it could not be measured
    except Exception as exc:
        return None, f"{type(exc).__name__}: {exc}"
