"""Performance without labels in a check on real parts: estimated at once, compared when labels come."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from drift.waiting import run_now
from drift.worker import check_step
from mlflow_ext.domain.drift import CheckState, DriftCheck
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.feedback import Feedback, FeedbackRow
from mlflow_ext.store.relabelling import Relabelling
from tests.integration.drift import conftest
from tests.integration.drift.conftest import HOUR, SINCE, World, rows_like_training

ROWS = 1_000


def chances(rows: pd.DataFrame) -> list[float]:
    """What a classifier of this world answers: the chance of class 1."""
    return [float(value) for value in 1 / (1 + np.exp(-(rows["length"] - 10)))]


def came_true(rows: pd.DataFrame, seed: int) -> list[int]:
    """Outcomes of these chances."""
    return [int(value) for value in np.random.default_rng(seed).random(len(rows)) < chances(rows)]


def classifier(world: World, directory: Path, *, labels: bool = True) -> None:
    """Watch the model as a classifier, with a reference that has chances, and labels where told."""
    rows = rows_like_training(3_000, seed=1)
    told = rows.assign(prediction=chances(rows))
    told = told.assign(target=came_true(rows, 1)) if labels else told
    told.to_parquet(directory / "chances.parquet", index=False)
    drift = {"minimum_rows": 100, "reference": str(directory / "chances.parquet")}
    policy = ModelPolicy.model_validate({"drift": drift})
    world.settings = world.settings.model_copy(update={"models": {world.model: policy}})


def checked(world: World) -> tuple[DriftCheck, list[str]]:
    """Score and check one hour."""
    ids = world.score(rows_like_training(ROWS, seed=2))
    check = run_now(world.parts, world.model, since=SINCE, until=SINCE + HOUR, version=None, quiet=True)
    assert check.state is CheckState.DONE, check.error
    return check, ids


def test_an_estimate_is_told_at_once_and_held_against_what_came_true(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In report and MLflow with its interval; when labels came, realised performance and the distance beside it."""
    monkeypatch.setattr(conftest, "answers", chances)
    classifier(world, tmp_path)
    check, ids = checked(world)
    assert check.report is not None
    expected = check.report.estimated
    assert expected["roc_auc_low"] < expected["roc_auc"] < expected["roc_auc_high"]
    assert check.report.estimate_errors == {}
    truth = came_true(rows_like_training(ROWS, seed=2), 2)
    Feedback(world.engine).add(world.model, [FeedbackRow(one, truth[n]) for n, one in enumerate(ids)])
    Relabelling(world.engine).enter(world.model, look_s=0, wait_s=86_400)
    step = check_step(world.parts, "estimates")
    while Checks(world.engine).get(check.id).state is not CheckState.DONE:
        assert step()
    report = Checks(world.engine).get(check.id).report
    assert report is not None
    assert report.estimated == expected
    assert abs(report.estimate_errors["roc_auc"]) < 0.05
    metrics = world.client.get_run(str(check.run_id)).data.metrics
    assert metrics["estimated/roc_auc"] == pytest.approx(expected["roc_auc"])
    assert metrics["performance/roc_auc_minus_estimate"] == pytest.approx(report.estimate_errors["roc_auc"])


def test_without_labels_in_the_reference_it_says_why_not(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason stands in the report and in the run's description; no number does."""
    monkeypatch.setattr(conftest, "answers", chances)
    classifier(world, tmp_path, labels=False)
    check, _ = checked(world)
    assert check.report is not None
    assert check.report.estimated == {}
    run = world.client.get_run(str(check.run_id))
    assert "not possible, the reference has no labels (column target)" in run.data.tags["mlflow.note.content"]
    assert not any(name.startswith("estimated/") for name in run.data.metrics)
