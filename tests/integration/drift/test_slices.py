"""Slices of a window by policy, from real segments to MLflow, with what labels make of each."""

from io import StringIO

from rich.console import Console
from sqlalchemy import insert

from drift.show import show_check
from drift.waiting import run_now
from drift.worker import check_step
from mlflow_ext.domain.drift import DriftReport, DriftVerdict, SliceReport
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.relabelling import Relabelling
from mlflow_ext.store.tables import feedback
from tests.integration.drift.conftest import HOUR, SINCE, World, answers, rows_like_training


def by_name(report: DriftReport | None) -> dict[str, SliceReport]:
    """The report's slices."""
    assert report is not None
    return {one.name: one for one in report.slices}


def test_a_slice_that_drifts_is_found_told_and_measured(world: World) -> None:
    """The whole hides that the west has moved; labels come late, and each slice has its metrics."""
    policy = [{"column": "region", "values": ["west", "north"]}, {"column": "age", "bins": 2}, "nowhere"]
    world.with_policy(slices=policy)
    rows = rows_like_training(3_000, seed=2)
    west = rows["region"] == "west"
    rows.loc[west, "weight"] = rows.loc[west, "weight"] * 0.6
    ids = world.score(rows)
    done = run_now(world.parts, world.model, since=SINCE, until=SINCE + HOUR, version=None, quiet=True)
    report = done.report
    assert report is not None, done.error
    found = by_name(report)

    [low, high] = [name for name in found if name.startswith("age")]
    assert list(found) == ["region = west", "region = north", low, high, "nowhere = (any)"]
    assert found["region = west"].verdict is DriftVerdict.DRIFT
    assert [one.column for one in found["region = west"].columns if one.drifted] == ["weight"]
    assert found["region = west"].window_rows == int(west.sum())
    assert found["region = north"].verdict is DriftVerdict.OK
    assert found["nowhere = (any)"].reason == "the reference has no column nowhere"
    assert not [one for one in report.columns if one.kind == "data" and one.drifted], "the whole hides it"
    assert report.verdict is DriftVerdict.DRIFT
    assert "1 of 5 slices drifted (region = west: 1 of 5 input columns drifted (weight))" in report.reason

    run = world.client.get_run(str(done.run_id)).data
    assert (run.metrics["drift/region:west/verdict"], run.metrics["drift/region:north/verdict"]) == (1, 0)
    assert run.metrics["drift/region:west/weight/drifted"] == 1
    assert "drift/region:west/prediction:prediction/score" in run.metrics
    assert "region = west" in run.tags["mlflow.note.content"]

    wrong = dict(zip(ids, rows["region"] == "west", strict=True))
    truth = dict(zip(ids, answers(rows), strict=True))
    with world.engine.begin() as connection:
        values = [
            {"model": world.model, "request_id": id_, "row": 0, "value": truth[id_] + 3.0 * wrong[id_]} for id_ in ids
        ]
        connection.execute(insert(feedback), values)
    assert Relabelling(world.engine).enter(world.model, look_s=0.0, wait_s=86_400.0) == 1
    step = check_step(world.parts, "labels")
    while Checks(world.engine).get(done.id).state != "done":
        assert step()
    after = Checks(world.engine).get(done.id)
    measured = {name: one.performance.get("mean_absolute_error") for name, one in by_name(after.report).items()}
    assert round(measured["region = west"] or 0, 6) == 3
    assert round(measured["region = north"] or 0, 6) == 0
    assert by_name(after.report)[low].performance["labelled_rows"] == int((rows["age"] <= (found[low].high or 0)).sum())
    metrics = world.client.get_run(str(done.run_id)).data.metrics
    assert round(metrics["performance/region:west/mean_absolute_error"], 6) == 3

    shown = StringIO()
    show_check(after, world.settings.mlflow_url, Console(file=shown, width=200))
    assert "region = west" in shown.getvalue()
    assert "mean_absolute_error 3" in shown.getvalue()
