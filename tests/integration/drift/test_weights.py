"""Importances from where a model is loaded anyway to the verdict of a check, which loads none."""

import json
from io import StringIO
from pathlib import Path

from rich.console import Console
from sklearn.linear_model import LinearRegression

from drift.show import show_check
from drift.waiting import run_now
from mlflow_ext.domain.drift import DriftCheck, DriftVerdict
from mlflow_ext.registry.importance import keep_importance
from mlflow_ext.store.registry_view import SqlRegistryView
from tests.integration.drift.conftest import HOUR, SINCE, World, answers, rows_like_training

USED = ["length", "visits"]


def check(world: World) -> DriftCheck:
    """Check the first hour, in this process."""
    return run_now(world.parts, world.model, since=SINCE, until=SINCE + HOUR, version=None, quiet=True)


def test_what_the_model_looks_at_weighs_and_the_report_says_who_said_so(world: World, tmp_path: Path) -> None:
    """Unknown, each input weighs 1; told by the gates' process, the used columns carry the share; policy outranks."""
    rows = rows_like_training(1_500, seed=3)
    shifted = rows_like_training(1_500, seed=4, shift=1.0)
    world.score(rows.assign(length=shifted["length"]), batch=10)
    world.with_policy(drift_share=0.5)
    before = check(world).report
    assert before is not None
    inputs = [one for one in before.columns if one.kind == "data"]
    assert [one.column for one in inputs if one.drifted] == ["length"]
    assert (before.drift_share, {one.weight for one in inputs}) == (1 / 6, {1.0})
    assert "its gates were never asked" in before.weights_note

    training = rows_like_training(500, seed=1)
    model = LinearRegression().fit(training[USED], answers(training))
    version = SqlRegistryView(world.engine).version(world.model, 1)
    keep_importance(world.client, version, model, training[USED])
    done = check(world)
    after = done.report
    assert after is not None
    assert after.verdict is DriftVerdict.DRIFT
    weights = {one.column: one.weight for one in after.columns if one.weight}
    assert set(weights) == set(USED)
    assert after.drift_share is not None
    # 0.3 of a spread of 2 against 0.05 of one of 4.5: some 73 percent
    assert 0.65 < after.drift_share < 0.8
    assert after.weights_note.endswith("(|coef_| times standard deviation of LinearRegression)")

    run = world.client.get_run(str(done.run_id)).data
    assert (run.metrics["drift/length/weight"], run.metrics["drift/weight/weight"]) == (weights["length"], 0)
    assert "Weights: by the model's importances" in run.tags["mlflow.note.content"]
    file = world.client.download_artifacts(str(done.run_id), "drift.json", str(tmp_path))
    assert json.loads(Path(file).read_text())["weights_note"] == after.weights_note
    shown = StringIO()
    show_check(done, world.settings.mlflow_url, Console(file=shown, width=160))
    assert "weights: by the model's importances" in shown.getvalue()

    world.with_policy(drift_share=0.5, weights={"length": 0.1})
    report = check(world).report
    assert report is not None
    assert report.weights_note.endswith("; by policy length 0.1")
    # length no longer carries the share; that predictions drift is another key
    assert report.drift_share is not None
    assert report.drift_share < 0.1


def test_importances_that_the_run_has_logged_are_taken(world: World) -> None:
    """As MLflow's autologging writes them; a run that no model has been asked for needs no gates."""
    version = world.client.get_model_version(world.model, "1")
    world.client.log_dict(version.run_id, {"length": 30.0, "age": 10.0}, "feature_importance_weight.json")
    world.score(rows_like_training(300, seed=3), batch=10)
    report = check(world).report
    assert report is not None
    weights = {one.column: round(one.weight or 0.0, 6) for one in report.columns if one.kind == "data"}
    assert weights == {"length": 4.5, "weight": 0, "visits": 0, "region": 0, "member": 0, "age": 1.5}
    assert "feature_importance_weight.json of its run" in report.weights_note
