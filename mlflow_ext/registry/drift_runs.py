"""One MLflow run per drift check: metrics, parameters, report, links. Delivering it again finds the run it made before.

What the numbers mean is decided in `drift/`; when to deliver, in `drift/delivery.py`.
"""

import json
import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    LoggedModelInput,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

from mlflow_ext.domain.drift import PICTURE, CheckKind, ColumnDrift, DriftCheck, DriftReport, DriftVerdict
from mlflow_ext.domain.root_cause import ROOT_CAUSE, ROOT_CAUSE_PICTURE
from mlflow_ext.errors import NotFoundError
from mlflow_ext.registry.client import MlflowRegistry, translated
from mlflow_ext.registry.drift_history import add_step, history_run

LOGGED_MODEL = "models:/"
"""Source of a version that was made from a logged model: this and the id, which begins with `m-`."""
SLOT_TAG = "mlflow_ext.drift_check"
ATTEMPT_TAG = "mlflow_ext.drift_attempt"
"""Under which attempt the run was begun: of two workers the later one holds the lease."""
VERDICT_TAG = "mlflow_ext.drift"
RUN_TAG = "mlflow_ext.drift_run"
KIND_TAG = "mlflow_ext.kind"
_PERFORMANCE = "performance/"
_COLUMNS_IN_FULL = 50
"""With more columns than these only what decides becomes metrics: MLflow writes some thousand a second."""
_SLICED_COLUMNS_IN_FULL = 300
"""With more columns in all slices together only those that drifted become metrics."""
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#])")
_OUTSIDE_ALPHABET = re.compile(r"[^A-Za-z0-9_\-.]+")


@dataclass(frozen=True, slots=True)
class RunDocuments:
    """What is kept beside the numbers.

    Attributes:
        html: Evidently's page; `None` when nothing was compared.
        json: Evidently's JSON document.
        picture: PNG of the columns that differ most, as `drift.png`.
        causes: PNG of the root cause, as `root_cause.png`.
        reference: Where the reference's rows come from.
        segments: Where the window's rows come from.
        tags: More tags of the run.
    """

    html: str | None = None
    json: str | None = None
    picture: bytes | None = None
    causes: bytes | None = None
    reference: str = ""
    segments: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class DriftRuns:
    """Drift checks as MLflow runs in the experiment `mlflow-ext/drift/<model>`."""

    def __init__(self, client: MlflowClient) -> None:
        """Take a client that points at MLflow's server."""
        self._client = client

    def deliver(self, check: DriftCheck, report: DriftReport, documents: RunDocuments) -> str:
        """Write the run of a check, or finish the one that an earlier delivery began.

        Returns:
            The run's id.

        Raises:
            UnavailableError: MLflow does not answer; deliver again later.
        """
        with translated():
            experiment_id = self._experiment(f"mlflow-ext/drift/{report.model}")
            history = history_run(self._client, experiment_id, report.model, report)
            run_id = self._only(experiment_id, check, report, history.info.run_id)
            # the same time in every delivery, so that MLflow recognises the same metric
            at_ms = int((check.evaluated_at or check.finished_at or check.slot).timestamp() * 1000)
            numbers = metrics_of(report)
            if report.evaluation:
                # the rest does not change when labels come
                numbers = {name: value for name, value in numbers.items() if name.startswith(_PERFORMANCE)}
            metrics = [Metric(name, value, at_ms, report.evaluation) for name, value in numbers.items()]
            for begin in range(0, len(metrics), 900):
                self._client.log_batch(run_id, metrics=metrics[begin : begin + 900])
            self._client.log_batch(run_id, params=_params(check, report), tags=_tags(check, report, documents.tags))
            self._client.log_inputs(run_id, _datasets(report, documents), self._models(report))
            self._log_artifacts(run_id, report, documents)
            if report.kind is CheckKind.DATA:
                add_step(self._client, history, report, numbers)
            self._client.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED), at_ms)
            return run_id

    def mark_version(self, report: DriftReport, run_id: str) -> None:
        """Tag the version with the verdict and the run; a version that was deleted meanwhile is passed by.

        Raises:
            UnavailableError: MLflow does not answer.
        """
        if report.version is None:
            return
        tags = {VERDICT_TAG: report.verdict.value, RUN_TAG: run_id}
        if report.kind is CheckKind.SKEW:
            tags = {"mlflow_ext.skew": report.verdict.value, "mlflow_ext.skew_run": run_id}
        try:
            MlflowRegistry(self._client).set_tags(report.model, report.version, tags)
        except NotFoundError:
            return

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException as exc:
                if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                # another scheduler was faster
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage == LifecycleStage.DELETED:
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _only(self, experiment_id: str, check: DriftCheck, report: DriftReport, history: str) -> str:
        """Give the slot's run, begun now if there is none; what others began beside it is removed.

        Between the look and the beginning a worker may be stopped for longer than its lease, and wake up when another
        one has delivered. So it looks again: the run that is finished, else that of the latest attempt, is the one.
        """
        slot = _slot(check)
        if not (found := self._of_slot(experiment_id, slot)):
            self._begin(experiment_id, check, report, history)
            found = self._of_slot(experiment_id, slot)
        self._remove(found[1:])
        # one that was killed between both looks could not clear up after itself
        for run in self._client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
            other = run.data.tags.get(SLOT_TAG, slot)
            if other != slot and self._of_slot(experiment_id, other)[:1] != [run.info.run_id]:
                self._remove([run.info.run_id])
        return found[0]

    def _of_slot(self, experiment_id: str, slot: str) -> list[str]:
        # a slot's key holds ':' and '@', no quote
        runs = self._client.search_runs([experiment_id], f"tags.`{SLOT_TAG}` = '{slot}'", ViewType.ACTIVE_ONLY)
        finished = RunStatus.to_string(RunStatus.FINISHED)
        runs.sort(
            key=lambda run: (run.info.status != finished, -int(run.data.tags.get(ATTEMPT_TAG, 0)), run.info.run_id)
        )
        return [run.info.run_id for run in runs]

    def _remove(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            try:
                self._client.delete_run(run_id)
            except MlflowException:
                # another worker has seen it, too, and was faster
                if self._client.get_run(run_id).info.lifecycle_stage != LifecycleStage.DELETED:
                    raise

    def _begin(self, experiment_id: str, check: DriftCheck, report: DriftReport, history: str) -> str:
        word = "skew " if report.kind is CheckKind.SKEW else ""
        tags = {
            SLOT_TAG: _slot(check),
            ATTEMPT_TAG: str(check.attempt),
            MLFLOW_PARENT_RUN_ID: history,
            MLFLOW_RUN_NAME: f"{word}v{report.version} {check.slot:%Y-%m-%d %H:%M:%S}",
        }
        start_ms = int(check.slot.timestamp() * 1000)
        return str(self._client.create_run(experiment_id, start_ms, tags).info.run_id)

    def _models(self, report: DriftReport) -> list[LoggedModelInput]:
        if report.version is None:
            return []
        try:
            version = self._client.get_model_version(report.model, str(report.version))
        except MlflowException as exc:
            if exc.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return []
        # MLflow's SQL store keeps a logged model's id only inside the version's source
        source = version.source or ""
        return [LoggedModelInput(source.removeprefix(LOGGED_MODEL))] if source.startswith(f"{LOGGED_MODEL}m-") else []

    def _log_artifacts(self, run_id: str, report: DriftReport, documents: RunDocuments) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            files = {"drift.json": json.dumps(report.as_dict(), indent=2)}
            if documents.html is not None:
                files["report.html"] = documents.html
            if documents.json is not None:
                files["report.json"] = documents.json
            if report.root_cause is not None:
                files[ROOT_CAUSE] = json.dumps(report.root_cause.as_dict(), indent=2)
            for name, content in files.items():
                Path(scratch, name).write_text(content, encoding="utf-8")
            if documents.picture is not None:
                Path(scratch, PICTURE).write_bytes(documents.picture)
            if documents.causes is not None:
                Path(scratch, ROOT_CAUSE_PICTURE).write_bytes(documents.causes)
            self._client.log_artifacts(run_id, scratch)


def metrics_of(report: DriftReport) -> dict[str, float]:
    """Give the report's numbers under names of MLflow's alphabet, without NaN and infinity."""
    word = "skew" if report.kind is CheckKind.SKEW else "drift"
    found: dict[str, float | None] = {
        f"{word}/share": report.drift_share,
        f"{word}/verdict": float(report.verdict is DriftVerdict.DRIFT),
        "rows/window": float(report.window_rows),
        "rows/received": None if report.received_rows is None else float(report.received_rows),
        "rows/reference": float(report.reference_rows),
    }
    for slug, column in _slugs(report.columns):
        place = word if column.kind == "data" else f"{'skew_' if word == 'skew' else ''}{column.kind}"
        found[f"{place}/{slug}/score"] = column.score
        if column.compared:
            found[f"{place}/{slug}/drifted"] = float(column.drifted)
            found[f"{place}/{slug}/p_value"] = column.p_value
        if len(report.columns) <= _COLUMNS_IN_FULL:
            found |= {f"{place}/{slug}/{method}": value for method, value in column.measures.items()}
            found[f"{place}/{slug}/weight"] = column.weight
    found |= _of_slices(report)
    found |= {f"evidently/{name}": value for name, value in report.evidently.items()}
    found |= {f"{_PERFORMANCE}{name}": value for name, value in report.performance.items()}
    found |= {f"estimated/{name}": value for name, value in report.estimated.items()}
    found |= {f"{_PERFORMANCE}{name}_minus_estimate": value for name, value in report.estimate_errors.items()}
    if report.performance_verdict is not None:
        found[f"{_PERFORMANCE}bad"] = float(report.performance_verdict is DriftVerdict.DRIFT)
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def _of_slices(report: DriftReport) -> dict[str, float | None]:
    """Name slices as `column:value`, which no column is called."""
    found: dict[str, float | None] = {}
    taken: set[str] = set()
    in_full = sum(len(one.columns) for one in report.slices) <= _SLICED_COLUMNS_IN_FULL
    for one in report.slices:
        parts = [_OUTSIDE_ALPHABET.sub("_", part)[:40] for part in (one.column, one.value)]
        name = ":".join(parts)
        if name.lower() in taken:
            name = f"{name}-{sha256(one.name.encode()).hexdigest()[:6]}"
        taken.add(name.lower())
        found[f"drift/{name}/share"] = one.drift_share
        found[f"drift/{name}/verdict"] = float(one.verdict is DriftVerdict.DRIFT)
        found[f"rows/{name}"] = float(one.window_rows)
        for slug, column in _slugs(one.columns):
            if column.compared and (in_full or column.drifted):
                # an output is called as no input is
                place = f"drift/{name}/{'' if column.kind == 'data' else 'prediction:'}{slug}"
                found[f"{place}/score"] = column.score
                found[f"{place}/drifted"] = float(column.drifted)
        found |= {f"{_PERFORMANCE}{name}/{metric}": value for metric, value in one.performance.items()}
    return found


def _slugs(columns: Iterable[ColumnDrift]) -> Iterator[tuple[str, ColumnDrift]]:
    """Name columns in MLflow's alphabet, each differently; the true names stand in `drift.json`."""
    taken: set[tuple[str, str]] = set()
    for column in columns:
        slug = _OUTSIDE_ALPHABET.sub("_", column.column)[:150] or "_"
        if (column.kind, slug.lower()) in taken:
            slug = f"{slug}-{sha256(column.column.encode()).hexdigest()[:6]}"
        taken.add((column.kind, slug.lower()))
        yield slug, column


def _slot(check: DriftCheck) -> str:
    return check.key.replace("'", "_")


def _params(check: DriftCheck, report: DriftReport) -> list[Param]:
    values = {
        "model": report.model,
        "version": report.version,
        "since": report.window.since.isoformat(),
        "until": report.window.until.isoformat(),
        "schedule": check.schedule,
        "slot": check.slot.isoformat(),
    }
    return [Param(name, str(value)[:500]) for name, value in values.items()]


def _tags(check: DriftCheck, report: DriftReport, more: Mapping[str, str]) -> list[RunTag]:
    lines = [f"**{report.verdict.value}**: {report.reason}", ""]
    if report.version is not None:
        link = f"[{report.model} version {report.version}](#/models/{report.model}/versions/{report.version})"
        lines.append(f"Model: {link}  ")
    lines.append(f"Window: {report.window}, {report.window_rows} rows against {report.reference_rows}")
    if report.received_rows is not None and report.received_rows > report.window_rows:
        lines[-1] += f"; the log is sampled, some {report.received_rows} rows were received"
    if report.estimate_note:
        lines[-1] += f"  \nPerformance without labels: not possible, {report.estimate_note}"
    if report.performance_verdict is not None:
        lines += ["", f"Performance: **{report.performance_verdict.value}**, {report.performance_reason}", ""]
    if report.evidently:
        own = "drift" if report.evidently["drift"] else "no drift"
        lines[-1] += f"  \nEvidently's own verdict, by its defaults and on a sample: {own}"
    if left_out := [f"{one.column} ({one.note})" for one in report.columns if not one.compared]:
        lines += ["", f"Not compared: {', '.join(left_out)}"]
    if report.slices:
        told = [f"- {_plain(one.name)}: **{one.verdict.value}**, {_plain(one.reason)}" for one in report.slices]
        lines += ["", "Slices:", "", *told[:20], *(["- …"] if len(told) > 20 else [])]
    if report.weights_note:
        lines += ["", f"Weights: {_plain(report.weights_note)}"]
    if report.root_cause is not None:
        lines += ["", "Root cause:", "", *(f"- {_plain(one)}" for one in report.root_cause.sentences), ""]
        lines.append(f"In full: `{ROOT_CAUSE}`, `{ROOT_CAUSE_PICTURE}` among the artifacts.")
    tags = {
        "mlflow_ext.model": report.model,
        "mlflow_ext.version": str(report.version),
        "mlflow_ext.window": str(report.window),
        "mlflow_ext.verdict": report.verdict.value,
        "mlflow_ext.evaluation": str(report.evaluation),
        "mlflow_ext.schedule": check.schedule,
        KIND_TAG: report.kind.value,
        MLFLOW_RUN_NOTE: "\n".join(lines),
        **more,
    }
    return [RunTag(name, value[:5_000]) for name, value in tags.items()]


def _plain(text: str) -> str:
    """Keep names of columns and categories from being read as Markdown."""
    return _MARKDOWN.sub(r"\\\1", text)


def _datasets(report: DriftReport, documents: RunDocuments) -> list[DatasetInput]:
    def dataset(name: str, context: str, source: str, rows: int, identity: Any) -> DatasetInput:
        digest = sha256(f"{identity}".encode()).hexdigest()[:16]
        profile = json.dumps({"num_rows": rows})
        one = Dataset(name, digest, "mlflow_ext", json.dumps({"uri": source}), None, profile)
        return DatasetInput(one, [InputTag(MLFLOW_DATASET_CONTEXT, context)])

    window = dataset(
        *(f"{report.model}-window", "window", documents.segments, report.window_rows),
        (report.model, report.version, str(report.window)),
    )
    if not report.reference_rows:
        return [window]
    reference = dataset(
        *(f"{report.model}-reference", "reference", documents.reference, report.reference_rows),
        (report.model, report.version, documents.reference),
    )
    return [window, reference]
