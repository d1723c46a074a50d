"""A retraining from trigger to version in Staging: export the recent rows, run the project, find what it registered.

Which alert opens one is decided in `mlflow_ext/store/retrainings.py`; what happens to the version next is promotion's.
"""

import logging
import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from drift.reference import References
from drift.segment_files import WindowRows, read_window
from mlflow_ext.domain.drift import Window
from mlflow_ext.domain.retraining import Retraining
from mlflow_ext.domain.stages import ModelVersion, Stage
from mlflow_ext.errors import ConflictError, InvalidPolicyError, MlflowExtError, NotFoundError, UnavailableError
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.ports import Pointers, Registry
from mlflow_ext.registry.project_runs import ProjectRuns
from mlflow_ext.retraining_policy import RetrainingPolicy
from mlflow_ext.store.labels import Labels
from mlflow_ext.store.retrainings import Retrainings
from mlflow_ext.store.segments import Segments

_log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the project's process is looked at."""
MOST_ATTEMPTS = 8
"""When MLflow or PostgreSQL do not answer so many times in a row (some minutes), a retraining is given up."""
WEIGHT = "sample_weight"
"""Column of the weights."""
TAIL_CHARACTERS = 3_000
"""How much of a failed project's log is kept in the table."""


@dataclass(frozen=True, slots=True)
class Executor:
    """Runs retrainings, one at a time.

    Attributes:
        retrainings: What is to be run.
        runs: Projects and their runs in MLflow.
        registry: Where the new version is set to Staging.
        pointers: Which version is served.
        index: Where the recent predictions are.
        labels: What became of them.
        references: What recent rows are mixed with.
        policy_of: What to run, as the configuration says now.
        data_dir: Where exports and logs go.
    """

    retrainings: Retrainings
    runs: ProjectRuns
    registry: Registry
    pointers: Pointers
    index: Segments
    labels: Labels
    references: References
    policy_of: Callable[[str], ModelPolicy]
    data_dir: Path

    def run_next(self) -> bool:
        """Run the oldest retraining that waits, or that its runner was killed in; False when there is none.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        one = self.retrainings.claim()
        if one is None:
            return False
        _log.info("retraining.begins id=%d model=%s attempt=%d", one.id, one.model, one.attempt)
        with self.retrainings.lease.held(one.id, one.attempt) as lost:
            try:
                version = self._version(one, lost)
            except ConflictError as exc:
                _log.warning("retraining.lost id=%d reason=%s", one.id, exc)
            except UnavailableError as exc:
                self._wait_or_give_up(one, exc)
            except MlflowExtError as exc:
                _log.warning("retraining.failed id=%d model=%s", one.id, one.model)
                self.retrainings.failed(one, str(exc))
            else:
                self.retrainings.done(one, version.run_id or "", version.version)
                _log.info("retraining.done id=%d model=%s version=%d", one.id, one.model, version.version)
        return True

    def _wait_or_give_up(self, one: Retraining, exc: UnavailableError) -> None:
        if one.attempt >= MOST_ATTEMPTS:
            self.retrainings.failed(one, str(exc))
            return
        wait_s = 2.0**one.attempt
        _log.warning("retraining.waits id=%d model=%s wait_s=%.0f reason=%s", one.id, one.model, wait_s, exc)
        self.retrainings.postpone(one, str(exc), wait_s)

    def _version(self, one: Retraining, lost: threading.Event) -> ModelVersion:
        # a runner that was killed may have come far: what it registered is used, what it left running is over
        version = self.runs.outcome(one.id, one.model) if one.attempt > 1 else None
        if version is None:
            if one.attempt > 1:
                self.runs.abandon(one.id)
            self._run_project(one, lost)
            version = self.runs.outcome(one.id, one.model)
        if version is None:
            raise NotFoundError(
                f"the project ran, but no run with tag mlflow_ext.retraining={one.id} registered a version of "
                f"{one.model}: the entry point must log its model with registered_model_name='{one.model}'"
            )
        if version.stage is Stage.NONE:
            self.registry.set_stage(one.model, version.version, Stage.STAGING)
        return version

    def _run_project(self, one: Retraining, lost: threading.Event) -> None:
        policy = self.policy_of(one.model)
        if policy.retraining.project is None:
            raise InvalidPolicyError(f"the policy of {one.model} no longer names a project")
        pointer = self.pointers.get(one.model)
        served = None
        if pointer is not None and pointer.version is not None:
            served = self.runs.view.version(one.model, pointer.version)
        command = self.runs.command(one.id, one.model, policy.retraining, self._parameters(one, policy, served))
        command += self.runs.in_experiment_of(served)
        log = self.data_dir / "logs" / f"retraining-{one.id}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            begin = output.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.runs.environment(one.id)},
            )
            marked = False
            while process.poll() is None:
                if lost.wait(LOOK_S):
                    process.terminate()
                    raise ConflictError(f"retraining {one.id} was taken over by another worker")
                marked = marked or self._marked(one)
        if process.returncode != 0:
            with log.open("rb") as written:
                written.seek(begin)
                tail = written.read().decode("utf-8", "replace")[-TAIL_CHARACTERS:]
            raise MlflowExtError(f"the project ended with status {process.returncode}; see {log}\n{tail}")

    def _marked(self, one: Retraining) -> bool:
        try:
            return self.runs.mark(one.id, one.model)
        except UnavailableError:
            # the project runs on; its run is marked at the end
            return False

    def _parameters(self, one: Retraining, policy: ModelPolicy, served: ModelVersion | None) -> dict[str, str]:
        given = policy.retraining.parameters
        values: dict[str, Any] = {
            "trigger": one.id,
            "since": "" if one.since is None else one.since.isoformat(),
            "until": "" if one.until is None else one.until.isoformat(),
        }
        if any("{recent}" in value for value in given.values() if isinstance(value, str)):
            values["recent"] = self._export(one, policy, served)
        try:
            return {
                name: value.format(**values) if isinstance(value, str) else str(value) for name, value in given.items()
            }
        except (KeyError, IndexError, ValueError) as exc:
            raise InvalidPolicyError(
                f"retraining.parameters of {one.model}: {exc} is not known; "
                "use {recent}, {since}, {until} or {trigger}, and double other braces"
            ) from exc

    def _export(self, one: Retraining, policy: ModelPolicy, served: ModelVersion | None) -> Path:
        """Write the window's inputs with their labels, and what policy adds to them, for the project to learn from."""
        if one.since is None or one.until is None:
            raise InvalidPolicyError(f"retraining {one.id} has no window, so there are no recent rows")
        rows = read_window(self.index, one.model, None, Window(one.since, one.until))
        labels = _labels_of(rows, one.model, self.labels)
        known = labels.notna().to_numpy()
        if not known.any():
            raise NotFoundError(
                f"none of the {len(rows)} predictions from {one.since.isoformat()} to {one.until.isoformat()} has "
                f"feedback, so there is nothing to learn from: POST it to /models/{one.model}/feedback"
            )
        recent: pd.DataFrame = rows.inputs.loc[known].reset_index(drop=True)
        recent[policy.evaluation.target] = labels[known].infer_objects().reset_index(drop=True)
        learned = mixed(recent, self._history(policy, served, list(recent.columns)), policy.retraining)
        place = self.data_dir / "retraining" / str(one.id) / "recent.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        learned.to_parquet(place, index=False)
        _log.info("retraining.exported id=%d recent=%d history=%d", one.id, len(recent), len(learned) - len(recent))
        return place

    def _history(self, policy: ModelPolicy, served: ModelVersion | None, columns: list[str]) -> pd.DataFrame | None:
        if policy.retraining.history_rows == 0:
            return None
        if served is None:
            raise InvalidPolicyError("retraining.history_rows: no version is in Production whose rows could be added")
        source = policy.drift.reference
        history = self.references.read(served, source)
        missing = [name for name in columns if name not in history.columns]
        if missing:
            raise InvalidPolicyError(
                f"retraining.history_rows: {source} of version {served.version} lacks the columns "
                f"{', '.join(missing)}; log them with it, or set history_rows to 0"
            )
        return history[columns]


def mixed(recent: pd.DataFrame, history: pd.DataFrame | None, policy: RetrainingPolicy) -> pd.DataFrame:
    """Put rows of history below the recent ones, and weigh both as policy says.

    Args:
        recent: Recent rows with their target.
        history: Rows with the same columns; `None` adds none.
        policy: Says how many are drawn (without replacement, always the same ones), and what a recent row weighs.

    Returns:
        The rows; with the column `sample_weight` where recent rows weigh otherwise than those of history.
    """
    parts = [recent]
    if history is not None:
        parts.append(history.sample(n=min(policy.history_rows, len(history)), random_state=0))
    rows = pd.concat(parts, ignore_index=True)
    if policy.recent_weight != 1.0:
        rows[WEIGHT] = np.where(np.arange(len(rows)) < len(recent), policy.recent_weight, 1.0)
    return rows


def _labels_of(rows: WindowRows, model: str, labels: Labels) -> "pd.Series[Any]":
    """Give the label of each row, `None` where no feedback came back."""
    known = labels.of(model, rows.meta["request_id"].tolist())
    keys = zip(rows.meta["request_id"], rows.meta["row"], strict=True)
    return pd.Series([known.get((request, int(row))) for request, row in keys], dtype=object)
