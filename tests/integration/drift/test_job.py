"""One check on a real database, a real MLflow server, real Parquet and the real Evidently."""

import json
import math
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run
from pydantic import SecretStr
from sqlalchemy import insert, text

from drift.waiting import run_now
from drift.worker import check_step
from mlflow_ext.domain.drift import CheckState, ColumnDrift, DriftCheck, DriftReport, DriftVerdict, Window
from mlflow_ext.registry.drift_history import HISTORY_TAG
from mlflow_ext.registry.drift_runs import SLOT_TAG, DriftRuns, RunDocuments
from mlflow_ext.store.alerts import Alerts
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.store.tables import feedback
from tests.conftest import free_port
from tests.integration.drift.conftest import HOUR, SINCE, World, answers, rows_like_training


def check(world: World) -> DriftCheck:
    """Check the first hour, in this process: no scheduler lives."""
    return run_now(world.parts, world.model, since=SINCE, until=SINCE + HOUR, version=None, quiet=True)


def runs_of(world: World) -> list[Run]:
    """The model's drift runs."""
    experiment = world.client.get_experiment_by_name(f"mlflow-ext/drift/{world.model}")
    return (
        [] if experiment is None else world.client.search_runs([experiment.experiment_id], f"tags.`{SLOT_TAG}` != ''")
    )


def artifacts(world: World, run_id: str) -> set[str]:
    """Names of a run's artifacts."""
    return {one.path for one in world.client.list_artifacts(run_id)}


def test_the_reference_distribution_is_ok_and_every_kind_of_column_is_compared(world: World) -> None:
    """Numbers, integers, text, truth values and missing values are compared; the same distribution is no drift."""
    world.score(rows_like_training(2_000, seed=2), batch=10)
    done = check(world)
    assert done.state is CheckState.DONE, done.error
    assert done.report is not None
    assert done.report.verdict is DriftVerdict.OK, done.report
    assert done.report.window_rows == 2_000
    assert [one.column for one in done.report.columns if one.compared and not one.note] == [
        *("length", "weight", "visits", "region", "member", "age", "prediction"),
    ]
    assert Alerts(world.engine).find(world.model) == []
    assert world.client.get_model_version(world.model, "1").tags["mlflow_ext.drift"] == "ok"


def test_a_drifted_window_is_reported_into_mlflow_and_raises_an_alert(world: World, tmp_path: Path) -> None:
    """Verdict, columns, one run with metrics, reports and links, version tags, and one alert."""
    world.score(rows_like_training(1_500, seed=3, shift=1.0), batch=10)
    done = check(world)
    assert done.report is not None
    assert done.report.verdict is DriftVerdict.DRIFT
    drifted = {one.column for one in done.report.columns if one.drifted}
    assert drifted == {"length", "visits", "region", "prediction"}

    [run] = runs_of(world)
    assert run.info.run_id == done.run_id
    assert run.info.status == "FINISHED"
    metrics = run.data.metrics
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["rows/window"] == 1_500
    assert metrics["drift/share"] == 0.5
    assert metrics["drift/length/drifted"] == 1
    assert metrics["prediction/prediction/drifted"] == 1
    assert run.data.params["version"] == "1"
    assert run.data.tags["mlflow_ext.verdict"] == "drift"
    assert f"#/models/{world.model}/versions/1" in run.data.tags["mlflow.note.content"]
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {
        f"{world.model}-window",
        f"{world.model}-reference",
    }
    assert len(world.client.get_run(run.info.run_id).inputs.model_inputs) == 1
    assert artifacts(world, run.info.run_id) == {
        *("report.html", "report.json", "drift.json", "drift.png", "root_cause.json", "root_cause.png"),
    }
    page = Path(world.client.download_artifacts(run.info.run_id, "report.html", str(tmp_path)))
    assert page.stat().st_size > 1_000_000
    ours = json.loads(Path(world.client.download_artifacts(run.info.run_id, "drift.json", str(tmp_path))).read_text())
    assert ours["verdict"] == "drift"
    tags = world.client.get_model_version(world.model, "1").tags
    assert (tags["mlflow_ext.drift"], tags["mlflow_ext.drift_run"]) == ("drift", run.info.run_id)
    [alert] = Alerts(world.engine).find(world.model)
    assert alert.check_id == done.id
    assert "3 of 6 input columns drifted" in alert.message


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_the_report_opens_in_a_browser(world: World, tmp_path: Path) -> None:
    """Chromium draws the self-contained page: the columns are on it."""
    world.score(rows_like_training(300, seed=3, shift=1.0), batch=10)
    done = check(world)
    page = world.client.download_artifacts(str(done.run_id), "report.html", str(tmp_path))
    drawn = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"),
            *("--virtual-time-budget=10000", "--dump-dom", Path(page).as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    body = drawn[drawn.index("<body") :].split("<script", 1)[0]
    assert "region" in body


def test_too_few_rows_are_inconclusive(world: World) -> None:
    """Never ok, whatever the rows look like; the run says so with the numbers and without a report."""
    world.score(rows_like_training(99, seed=4))
    done = check(world)
    assert done.report is not None
    assert done.report.verdict is DriftVerdict.INCONCLUSIVE
    assert done.report.reason == "99 rows in the window, 100 are needed"
    assert artifacts(world, str(done.run_id)) == {"drift.json"}
    assert world.client.get_model_version(world.model, "1").tags["mlflow_ext.drift"] == "inconclusive"


def test_the_window_takes_in_its_beginning_and_not_its_end(world: World) -> None:
    """Rows of the hour before and after do not count."""
    for hours in (-1, 0, 1):
        world.score(rows_like_training(150, seed=5), since=SINCE + hours * HOUR)
    done = check(world)
    assert done.report is not None
    assert done.report.window_rows == 150


def test_nothing_in_production_is_inconclusive(world: World) -> None:
    """There is no version to compare, so there is no run either."""
    SqlPointers(world.engine).move(world.model, None, seen_generation=1, reason="test")
    done = check(world)
    assert done.report is not None
    assert (done.report.verdict, done.run_id) == (DriftVerdict.INCONCLUSIVE, None)
    assert runs_of(world) == []


def test_a_version_without_reference_fails_with_what_to_log(world: World) -> None:
    """The check's state is `failed`; the error names the artifact and the call."""
    world.with_policy(reference="artifact:data/other.parquet")
    world.score(rows_like_training(200, seed=6))
    done = check(world)
    assert done.state is CheckState.FAILED
    assert "data/other.parquet" in str(done.error)
    assert "mlflow.log_artifact" in str(done.error)


def test_bad_columns_do_not_cost_the_report(world: World) -> None:
    """An empty column is drift, a column of identifiers is left out with a note, the others are compared."""
    rows = rows_like_training(600, seed=7)
    rows["age"] = np.nan
    rows["region"] = [f"id-{number}" for number in range(len(rows))]
    world.score(rows, batch=10)
    done = check(world)
    assert done.report is not None, done.error
    found = {one.column: one for one in done.report.columns}
    assert found["age"].method == "missing_share"
    assert found["age"].drifted
    assert found["region"].drifted
    assert not found["length"].drifted
    assert artifacts(world, str(done.run_id)) >= {"report.html"}


def test_feedback_gives_realised_performance(world: World) -> None:
    """Rows with a label are measured; the others are counted."""
    rows = rows_like_training(400, seed=8)
    ids = world.score(rows)
    truth = [value + 0.5 for value in answers(rows)]
    with world.engine.begin() as connection:
        connection.execute(
            insert(feedback),
            [
                {"model": world.model, "request_id": name, "row": 0, "value": value}
                for name, value in list(zip(ids, truth, strict=True))[:100]
            ],
        )
    done = check(world)
    assert done.report is not None
    assert done.report.performance["labelled_rows"] == 100
    assert done.report.performance["mean_absolute_error"] == pytest.approx(0.5)
    [run] = runs_of(world)
    assert run.data.metrics["performance/labelled_share"] == 0.25


def test_a_result_waits_for_mlflow_and_is_delivered_once(world: World) -> None:
    """MLflow down: the answer and its alert are there at once, the run comes later, once, with the report."""
    world.score(rows_like_training(300, seed=9, shift=1.0))
    check(world)
    before = len(runs_of(world))
    down = replace(
        world.parts, settings=world.settings.model_copy(update={"mlflow_url": f"http://127.0.0.1:{free_port()}"})
    )
    waiting = run_now(down, world.model, since=SINCE, until=SINCE + HOUR, version=None, quiet=True)
    assert waiting.state is CheckState.COMPUTED
    assert waiting.report is not None
    assert waiting.report.verdict is DriftVerdict.DRIFT
    assert "MLflow" in str(waiting.error)
    assert [alert.seen for alert in Alerts(world.engine).find(world.model)] == [2]
    with world.engine.begin() as connection:
        # the back-off is over
        connection.execute(text("UPDATE mlflow_ext.drift_check SET lease_until = NULL"))
    step = check_step(world.parts, "somebody")
    while step():
        pass
    done = Checks(world.engine).get(waiting.id)
    assert done.state is CheckState.DONE
    assert len(runs_of(world)) == before + 1
    assert artifacts(world, str(done.run_id)) >= {"report.html"}


def test_a_killed_delivery_finds_the_run_it_made(world: World) -> None:
    """Delivering a result again makes no second run, and leaves the same numbers."""
    world.score(rows_like_training(300, seed=10, shift=1.0))
    done = check(world)
    [first] = runs_of(world)
    with world.engine.begin() as connection:
        # as if the deliverer had died after its last call to MLflow
        connection.execute(text("UPDATE mlflow_ext.drift_check SET state = 'delivering', run_id = NULL"))
    step = check_step(world.parts, "somebody else")
    while step():
        pass
    [second] = runs_of(world)
    assert Checks(world.engine).get(done.id).run_id == first.info.run_id == second.info.run_id
    assert second.data.metrics == first.data.metrics
    assert second.data.tags[SLOT_TAG] == done.key
    history = world.client.get_metric_history(second.info.run_id, "drift/share")
    assert len(history) == 1


def test_an_older_window_does_not_overwrite_the_versions_verdict(world: World) -> None:
    """The version's tag tells of its newest window."""
    world.score(rows_like_training(300, seed=11, shift=1.0), since=SINCE)
    world.score(rows_like_training(300, seed=12), since=SINCE + HOUR)

    def at(hours: int) -> DriftCheck:
        begin = SINCE + hours * HOUR
        return run_now(world.parts, world.model, since=begin, until=begin + HOUR, version=None, quiet=True)

    assert str(at(1).report and at(1).report.verdict) == "ok"  # type: ignore[union-attr]
    assert str(at(0).report.verdict) == "drift"  # type: ignore[union-attr]
    assert world.client.get_model_version(world.model, "1").tags["mlflow_ext.drift"] == "ok"


def test_a_defect_in_one_check_stops_no_other(world: World, base_model: Callable[[str], None]) -> None:
    """A file that is no Parquet fails its own check with a clear message."""
    broken = world.directory / "reference.parquet"
    broken.write_bytes(b"nonsense")
    world.with_policy(reference=str(broken))
    world.score(rows_like_training(200, seed=13))
    done = check(world)
    assert done.state is CheckState.FAILED
    assert "cannot be read" in str(done.error)


def test_a_command_asks_for_a_model_that_exists(world: World) -> None:
    """Unknown models are an error that names the known ones."""
    from mlflow_ext.errors import NotFoundError

    assert isinstance(world.settings.database_url, SecretStr)
    with pytest.raises(NotFoundError, match=world.model):
        run_now(world.parts, "nobody", since=None, until=None, version=None, quiet=True)


def test_a_models_checks_stand_below_one_run_that_holds_their_history(world: World) -> None:
    """Each check is a step of it, at the end of its window; delivered again it stays one."""
    runs = DriftRuns(world.client)
    for hour in (2, 0, 1, 1):
        window = Window(SINCE + hour * HOUR, SINCE + (hour + 1) * HOUR)
        report = DriftReport(world.model, 1, window, DriftVerdict.OK, "fine", 500, 900, drift_share=hour / 10)
        slot = DriftCheck(hour, world.model, 1, f"drift:{world.model}", window.until, window, CheckState.DELIVERING, 1)
        runs.deliver(slot, report, RunDocuments())
    checks = runs_of(world)
    assert len(checks) == 3
    [history] = {run.data.tags["mlflow.parentRunId"] for run in checks}
    assert world.client.get_run(history).data.tags[HISTORY_TAG] == "true"
    steps = {(one.step, one.value) for one in world.client.get_metric_history(history, "drift/share")}
    assert steps == {(-120, 0.0), (-60, 0.1), (0, 0.2)}


def test_two_hundred_columns_are_in_mlflow_within_two_seconds(world: World) -> None:
    """The run of a check, its artifacts and its step in the history; the best of three."""
    columns = tuple(
        ColumnDrift(f"c{number}", "data", "ks", 0.1, 0.05, number % 2 == 0, "", 0.01, {"psi": 0.2, "js": 0.1})
        for number in range(200)
    )
    window = Window(SINCE, SINCE + HOUR)
    report = DriftReport(world.model, 1, window, DriftVerdict.DRIFT, "half", 500, 900, columns, 0.5)
    runs = DriftRuns(world.client)
    took = []
    for number in range(3):
        slot = DriftCheck(
            number, world.model, 1, f"drift:{world.model}", SINCE + number * HOUR, window, CheckState.DELIVERING, 1
        )
        began = time.perf_counter()
        runs.deliver(slot, report, RunDocuments())
        took.append(time.perf_counter() - began)
    print(f"200 columns delivered in {min(took):.2f} to {max(took):.2f} s")
    assert min(took) < 2.0
