"""Skew between training and serving: looked at once a version, told as a report of its own, and nothing else moves."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import StringIO

from rich.console import Console
from sqlalchemy import text

from drift.show import show_check, show_history
from drift.skew_due import enter_due
from drift.waiting import run_now, skew_now
from drift.worker import check_step, compactor
from mlflow_ext.domain.alerts import AlertState
from mlflow_ext.domain.drift import CheckKind, CheckState, DriftCheck, DriftVerdict
from mlflow_ext.domain.retraining import Trigger
from mlflow_ext.registry.drift_history import HISTORY_TAG
from mlflow_ext.store.alerts import Alerts
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.store.registry_view import SqlRegistryView
from mlflow_ext.store.retraining_triggers import RetrainingTriggers
from mlflow_ext.store.skews import Skews
from tests.conftest import wait_until
from tests.integration.drift.conftest import HOUR, SINCE, World, rows_like_training

NEVER = "0 0 1 1 *"


def compact(world: World) -> None:
    """Bring what was scored into segments."""
    with compactor(world.parts) as one:
        one.run_once()


def due(world: World) -> int:
    """Look once whether anything is due."""
    skews, view = Skews(world.engine), SqlRegistryView(world.engine)
    policy = world.settings.policy(world.model).drift
    return enter_due(skews, view, SqlPointers(world.engine), world.model, policy)


def skew_checks(world: World) -> list[DriftCheck]:
    """The model's checks of skew."""
    return Checks(world.engine).history(world.model, kind=CheckKind.SKEW)


def alerts(world: World) -> list[tuple[str, AlertState]]:
    """Kind and state of the model's alerts."""
    return [(one.kind, one.state) for one in Alerts(world.engine).find(world.model)]


def test_first_rows_unlike_the_training_data_are_told_and_move_nothing_else(
    world: World, base_model: Callable[[str], None]
) -> None:
    """One run of its own kind, tags, an alert that the next version's first rows end; no verdict on the data moves."""
    world.with_policy(skew_rows=600)
    world.score(rows_like_training(400, seed=2, shift=1.0), batch=10)
    world.score(rows_like_training(400, seed=3, shift=1.0), since=SINCE + HOUR, batch=10)
    world.score(rows_like_training(400, seed=4), since=SINCE + 2 * HOUR, batch=10)
    done = skew_now(world.parts, world.model, version=None, quiet=True)
    report = done.report
    assert (done.state, done.kind) == (CheckState.DONE, CheckKind.SKEW), done.error
    assert report is not None
    # as many hours as it takes to have the rows, and not those after
    assert (report.verdict, report.window_rows, report.rows_version) == (DriftVerdict.DRIFT, 800, None)
    assert report.reason.startswith("the first rows that version 1 was asked, beside what version 1 was trained on: 3 ")
    assert {one.column for one in report.columns if one.drifted} == {"length", "visits", "region", "prediction"}

    run = world.client.get_run(str(done.run_id))
    assert run.data.tags["mlflow_ext.kind"] == "skew"
    assert (run.data.metrics["skew/verdict"], run.data.metrics["skew/length/drifted"]) == (1, 1)
    assert run.data.metrics["skew_prediction/prediction/drifted"] == 1
    assert not [name for name in run.data.metrics if name.startswith("drift/")]
    tags = world.client.get_model_version(world.model, "1").tags
    assert (tags["mlflow_ext.skew"], tags["mlflow_ext.skew_run"]) == ("drift", done.run_id)

    # what watches the data over time knows nothing of it
    assert "mlflow_ext.drift" not in tags
    assert Checks(world.engine).newest(world.model) == []
    seen = RetrainingTriggers(world.engine).unseen_checks(Trigger.DRIFT)
    assert done.id not in {one.id for one in seen}
    [history] = world.client.search_runs([run.info.experiment_id], f"tags.`{HISTORY_TAG}` = 'true'")
    assert history.data.metrics == {}
    assert alerts(world) == [("skew", AlertState.FIRING)]

    shown = StringIO()
    console = Console(file=shown, width=160)
    show_check(done, world.settings.mlflow_url, console)
    show_history(world.model, [done], console)
    assert f"skew of {world.model} version 1" in shown.getvalue()

    base_model(world.model)
    SqlPointers(world.engine).move(world.model, 2, seen_generation=1, reason="test")
    world.score(rows_like_training(700, seed=5), since=SINCE + 3 * HOUR, version=2, batch=10)
    after = skew_now(world.parts, world.model, version=None, quiet=True)
    assert after.report is not None
    assert (after.report.version, after.report.verdict) == (2, DriftVerdict.OK), after.report.reason
    assert alerts(world) == [("skew", AlertState.RESOLVED)]

    # and a check of the data takes no notice of those of skew
    data = run_now(world.parts, world.model, since=SINCE, until=SINCE + HOUR, version=1, quiet=True)
    assert data.report is not None
    assert data.report.verdict is DriftVerdict.DRIFT
    assert [one.id for one in Checks(world.engine).newest(world.model)] == [data.id]
    assert world.client.get_model_version(world.model, "1").tags["mlflow_ext.skew"] == "drift"


def test_a_new_version_is_compared_with_what_production_is_asked(
    world: World, base_model: Callable[[str], None]
) -> None:
    """Before anybody asks it: its training data beside the last inputs of the one in Production, entered once."""
    world.with_policy(schedule=NEVER, skew_rows=500)
    now = datetime.now(UTC)
    world.score(rows_like_training(400, seed=2, shift=1.0), since=now - 2 * HOUR, batch=10)
    compact(world)
    base_model(world.model)
    assert due(world) == 0, "too few rows of either"
    world.score(rows_like_training(400, seed=3, shift=1.0), since=now - HOUR, batch=10)
    compact(world)
    with ThreadPoolExecutor(8) as pool:
        entered = sum(pool.map(lambda _: due(world), range(16)))
    assert entered == 2, "one of the first rows of version 1, one of version 2 beside these"
    assert due(world) == 0
    step = check_step(world.parts, "skew")
    while any(one.state not in (CheckState.DONE, CheckState.FAILED) for one in skew_checks(world)):
        assert step()
    by_version = {one.version: one for one in skew_checks(world)}
    report = by_version[2].report
    assert report is not None, by_version[2].error
    assert (report.verdict, report.rows_version, report.window_rows) == (DriftVerdict.DRIFT, 1, 800)
    assert report.reason.startswith("what version 1 is asked in Production, beside what version 2 was trained on: ")
    assert {one.kind for one in report.columns} == {"data"}, "answers of another version say nothing about this one"
    assert world.client.get_model_version(world.model, "2").tags["mlflow_ext.skew"] == "drift"
    # it answers nobody: that is for whoever promotes it, and pages nobody
    [alert] = Alerts(world.engine).find(world.model)
    assert (alert.kind, alert.version, alert.check_id) == ("skew", 1, by_version[1].id)


def test_nobody_is_looked_at_who_did_not_ask_for_it(world: World) -> None:
    """Without a schedule, or with `skew_rows: 0`, nothing is entered; by hand it works all the same."""
    world.score(rows_like_training(1_200, seed=2), batch=10)
    compact(world)
    assert due(world) == 0
    world.with_policy(schedule=NEVER, skew_rows=0)
    assert due(world) == 0
    done = skew_now(world.parts, world.model, version=1, quiet=True)
    assert done.report is not None
    assert (done.report.verdict, done.report.window_rows) == (DriftVerdict.OK, 1_200)


def test_two_schedulers_look_once(world: World) -> None:
    """As processes: the first rows of a version become one check, one run, whoever sees them first."""
    world.with_policy(schedule=NEVER, skew_rows=500)
    world.score(rows_like_training(800, seed=2), since=datetime.now(UTC) - HOUR, batch=100)
    started = [world.start("drift", "schedule") for _ in range(2)]
    wait_until(lambda: any(one.state is CheckState.DONE for one in skew_checks(world)), 180, world.logs)
    [done] = skew_checks(world)
    assert done.report is not None
    assert done.report.verdict is DriftVerdict.OK
    assert done.window.until - done.window.since < timedelta(hours=1)
    for process in started:
        process.terminate()
    assert [process.wait(20) for process in started] == [0, 0]
    with world.engine.connect() as connection:
        counted = connection.execute(
            text("SELECT count(*) FROM mlflow_ext.drift_check WHERE model = :model"), {"model": world.model}
        ).scalar()
    assert counted == 1


def test_the_command_tells_what_it_found(world: World) -> None:
    """`drift skew` compares and prints, `show --kind skew` prints it again; a wrong version is a clear mistake."""
    world.with_policy(schedule=NEVER)
    world.score(rows_like_training(600, seed=2, shift=1.0), batch=10)

    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "mlflow_ext.cli", "drift", *arguments],
            env=world.environment(COLUMNS="150"),
            cwd=world.directory,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    told = command("skew", world.model, "--version", "1")
    assert told.returncode == 0, told.stderr
    assert "the first rows that version 1 was asked" in told.stdout
    assert "region" in told.stdout
    answer = json.loads(command("skew", world.model, "--version", "1", "--json").stdout)
    assert (answer["kind"], answer["verdict"]) == ("skew", "drift")
    again = json.loads(command("show", world.model, "--kind", "skew", "--json").stdout)
    assert again["verdict"] == "drift"
    mistaken = command("skew", world.model, "--version", "7")
    assert mistaken.returncode == 1
    assert "7" in mistaken.stderr
    assert "Traceback" not in mistaken.stderr
