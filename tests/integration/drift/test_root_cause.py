"""The root cause of a drift that begins at a known hour in known rows, told through MLflow."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from drift.command import drift
from drift.waiting import run_now
from mlflow_ext.domain.drift import CheckState, DriftCheck, DriftReport, DriftVerdict
from mlflow_ext.domain.root_cause import ROOT_CAUSE, ROOT_CAUSE_PICTURE, Course
from mlflow_ext.store.alerts import Alerts
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.replicas import Replicas
from tests.conftest import wait_until
from tests.integration.drift.conftest import HOUR, SINCE, World, rows_like_training

HOURS = 30
BEGIN = 20


def planted(hour: int) -> pd.DataFrame:
    """An hour's rows; from `BEGIN` on, most of them come from the west and are long."""
    rows = rows_like_training(120, seed=500 + hour)
    if hour >= BEGIN:
        rng = np.random.default_rng(700 + hour)
        some = rng.random(len(rows)) < 0.7
        rows.loc[some, "region"] = "west"
        rows.loc[some, "length"] = rng.uniform(15, 20, int(some.sum()))
    return rows


def checked_here(world: World, since: datetime, until: datetime) -> DriftCheck:
    """A check in this process: no scheduler lives."""
    return run_now(world.parts, world.model, since=since, until=until, version=None, quiet=True)


def checked_by_a_scheduler(world: World, since: datetime, until: datetime) -> DriftCheck:
    """A check by a scheduler process."""
    scheduler = world.start("drift", "schedule")
    wait_until(lambda: Replicas(world.engine).living(role="drift"), 120, world.logs)
    asked = Checks(world.engine).request(world.model, window_s=3600, version=None, since=since, until=until)
    wait_until(lambda: Checks(world.engine).get(asked.id).state is CheckState.DONE, 180, world.logs)
    scheduler.terminate()
    assert scheduler.wait(60) == 0
    return Checks(world.engine).get(asked.id)


@pytest.mark.parametrize("checked", [checked_here, pytest.param(checked_by_a_scheduler, marks=pytest.mark.slow)])
def test_a_check_tells_rows_hour_and_predictions(
    world: World, tmp_path: Path, checked: Callable[[World, datetime, datetime], DriftCheck]
) -> None:
    """A check names the slice and the hour; alert, run, artifacts and the command line tell it."""
    for hour in range(HOURS):
        world.score(planted(hour), since=SINCE + hour * HOUR, batch=30)
    done = checked(world, SINCE + 12 * HOUR, SINCE + HOURS * HOUR)
    report = done.report
    assert report is not None
    assert report.verdict is DriftVerdict.DRIFT
    cause = report.root_cause
    assert cause is not None
    assert {one.column for one in cause.columns} == {"length", "region"}
    assert all(one.course is Course.SINCE for one in cause.columns), cause
    begin = SINCE + BEGIN * HOUR
    assert {one.at for one in cause.columns} == {begin.isoformat()}
    assert cause.slice is not None
    said = " and ".join(cause.slice.conditions)
    assert "length >" in said
    assert cause.slice.window_share > 0.3
    assert cause.slice.reference_share < 0.1
    # the model of this world: 0.3 times length, and the region does not matter to it
    assert cause.columns[0].column == "length"
    assert cause.prediction is not None
    assert cause.prediction.fidelity is not None
    assert cause.prediction.fidelity > 0.9
    moved = {one.column: one.moved or 0.0 for one in cause.columns}
    assert moved["length"] > 0.9 * cause.prediction.shift
    assert abs(moved["region"]) < 0.1 * cause.prediction.shift

    moment = f"since {begin:%Y-%m-%d %H:%M} UTC"
    [alert] = Alerts(world.engine).find(world.model)
    assert moment in alert.message
    assert "length >" in alert.message
    run = world.client.get_run(str(done.run_id))
    assert ROOT_CAUSE in run.data.tags["mlflow.note.content"]
    names = {one.path for one in world.client.list_artifacts(str(done.run_id))}
    assert {ROOT_CAUSE, ROOT_CAUSE_PICTURE} <= names
    kept = json.loads(Path(world.client.download_artifacts(str(done.run_id), ROOT_CAUSE, str(tmp_path))).read_text())
    assert kept == json.loads(json.dumps(cause.as_dict()))
    picture = Path(world.client.download_artifacts(str(done.run_id), ROOT_CAUSE_PICTURE, str(tmp_path)))
    assert picture.read_bytes().startswith(b"\x89PNG")

    shown = CliRunner().invoke(drift, ["show", world.model], env=world.environment())
    assert shown.exit_code == 0, shown.output
    told = " ".join(shown.output.split())
    assert moment in told
    assert "Which rows: rows with" in told


def test_hours_before_the_window_tell_when_it_began(world: World) -> None:
    """A window that is drift throughout: the kept counts of earlier windows know since when. An ok one has no cause."""
    begin = SINCE + 10 * HOUR
    for hour in range(18):
        shifted = 1.0 if hour >= 10 else 0.0
        world.score(rows_like_training(150, seed=800 + hour, shift=shifted), since=SINCE + hour * HOUR, batch=30)

    def check(first: int, last: int) -> DriftReport:
        window = (SINCE + timedelta(hours=first), SINCE + timedelta(hours=last))
        done = run_now(world.parts, world.model, since=window[0], until=window[1], version=None, quiet=True)
        assert done.report is not None, done.error
        return done.report

    before = check(0, 10)
    assert (before.verdict, before.root_cause) == (DriftVerdict.OK, None)
    report = check(11, 18)
    assert report.verdict is DriftVerdict.DRIFT
    assert report.root_cause is not None
    # the hour in between was never counted: the first one that was, is named
    named = {one.at for one in report.root_cause.columns if one.course is Course.SINCE}
    assert named == {(begin + HOUR).isoformat()}, report.root_cause
