"""A retraining with a real `mlflow run`: from the alert to a version in Staging, also when its runner is killed."""

import os
import signal
import textwrap
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import insert

from drift.triggers import Triggers
from drift.waiting import run_now
from drift.worker import retraining_step, set_up_process
from mlflow_ext.domain.retraining import Retraining, RetrainingState
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.store.replicas import Replicas
from mlflow_ext.store.retraining_triggers import RetrainingTriggers
from mlflow_ext.store.retrainings import Retrainings
from mlflow_ext.store.tables import feedback
from tests.conftest import wait_until
from tests.integration.drift.conftest import HOUR, SINCE, World, answers, rows_like_training

TRAIN = """
import sys, time
import mlflow, pandas as pd
from sklearn.linear_model import LinearRegression
recent, model, mode = sys.argv[1:]
if mode == "fail":
    sys.exit("nothing can be learned from this")
rows = pd.read_parquet(recent)
with mlflow.start_run():
    mlflow.log_metric("rows", len(rows))
    if mode == "slow":
        open(recent + ".begun", "a").write("x")
        while not __import__("pathlib").Path(recent + ".go").exists():
            time.sleep(0.1)
    fitted = LinearRegression().fit(rows[["length", "visits"]], rows["target"])
    mlflow.sklearn.log_model(fitted, name="model", registered_model_name=model, pip_requirements=["scikit-learn"])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An MLflow Project that learns from the recent rows."""
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "train.py").write_text(TRAIN)
    (directory / "MLproject").write_text(
        textwrap.dedent(
            """
            name: small
            entry_points:
              retrain:
                parameters:
                  recent: path
                  model: string
                  mode: {type: string, default: fast}
                command: "python train.py {recent} {model} {mode}"
            """
        )
    )
    return directory


def drifted(world: World, project: Path, mode: str = "fast", *, labels: bool = True) -> None:
    """Set the policy, score a drifted hour with its outcomes, check it, and let its alert open a retraining."""
    policy = ModelPolicy.model_validate(
        {
            "drift": {"minimum_rows": 100},
            "evaluation": {"model_type": "regressor"},
            "retraining": {
                "project": str(project),
                "parameters": {"recent": "{recent}", "model": world.model, "mode": mode},
            },
        }
    )
    world.settings = world.settings.model_copy(update={"models": {world.model: policy}})
    rows = rows_like_training(200, seed=5, shift=1.0)
    ids = world.score(rows, batch=10)
    if labels:
        values = answers(rows)
        with world.engine.begin() as connection:
            connection.execute(
                insert(feedback),
                [
                    {"model": world.model, "request_id": ids[number // 10], "row": number % 10, "value": values[number]}
                    for number in range(150)
                ],
            )
    run_now(world.parts, world.model, since=SINCE, until=SINCE + HOUR, version=None, quiet=True)
    Triggers(RetrainingTriggers(world.engine), lambda model: world.settings.policy(model).retraining).look([])


def only(world: World) -> Retraining:
    """The model's one retraining."""
    [one] = Retrainings(world.engine).find(world.model)
    return one


def test_an_alert_ends_in_a_version_in_staging(world: World, project: Path) -> None:
    """The project gets the labelled rows and its trigger; what it registered is Staging, run and version are noted."""
    drifted(world, project)
    set_up_process(world.parts)
    assert retraining_step(world.parts, "me")()
    one = only(world)
    assert one.state is RetrainingState.DONE, one.error
    assert one.version == 2
    version = world.client.get_model_version(world.model, "2")
    assert (version.current_stage, version.run_id) == ("Staging", one.run_id)
    run = world.client.get_run(str(one.run_id))
    assert run.data.metrics["rows"] == 150
    assert run.data.tags["mlflow_ext.retraining"] == str(one.id)
    served = world.client.get_run(str(world.client.get_model_version(world.model, "1").run_id))
    assert run.info.experiment_id == served.info.experiment_id
    recent = pd.read_parquet(world.settings.data_dir / "retraining" / str(one.id) / "recent.parquet")
    assert list(recent.columns) == ["length", "weight", "visits", "region", "member", "age", "target"]


def test_a_project_that_fails_is_recorded_with_the_end_of_its_log(world: World, project: Path) -> None:
    """The reason stands in the table, the whole log in a file; no version appears."""
    drifted(world, project, "fail")
    set_up_process(world.parts)
    assert retraining_step(world.parts, "me")()
    one = only(world)
    assert one.state is RetrainingState.FAILED
    assert "nothing can be learned from this" in str(one.error)
    assert (world.settings.data_dir / "logs" / f"retraining-{one.id}.log").is_file()


def test_without_feedback_there_is_nothing_to_learn_from(world: World, project: Path) -> None:
    """Said before anything is started, with what to do."""
    drifted(world, project, labels=False)
    assert retraining_step(world.parts, "me")()
    assert only(world).state is RetrainingState.FAILED
    assert "feedback" in str(only(world).error)


@pytest.mark.timeout(500)
def test_a_killed_runner_is_taken_over_and_checks_go_on_meanwhile(world: World, project: Path) -> None:
    """The project of the killed runner ends with it; another attempt makes the one version; checks are not blocked."""
    drifted(world, project, "slow")
    process = world.start("drift", "schedule")
    place = world.settings.data_dir / "retraining" / str(only(world).id)
    begun, go = place / "recent.parquet.begun", place / "recent.parquet.go"
    wait_until(begun.exists, 130, world.logs)

    checked = run_now(world.parts, world.model, since=SINCE, until=SINCE + HOUR, version=None, quiet=True)
    assert checked.report is not None
    [replica] = [one for one in Replicas(world.engine).living(role="drift") if one.pid == process.pid]
    os.kill(int(replica.state["retraining"]), signal.SIGKILL)
    wait_until(lambda: len(begun.read_text()) == 2, 130, world.logs)
    go.touch()
    wait_until(lambda: only(world).finished_at, 130, world.logs)
    one = only(world)
    assert one.state is RetrainingState.DONE, one.error
    assert one.attempt == 2
    assert {version.version for version in world.client.search_model_versions(f"name='{world.model}'")} == {"1", "2"}
    runs = world.client.search_runs(["0"], f"tags.`mlflow_ext.retraining` = '{one.id}'")
    assert sorted(run.info.status for run in runs) == ["FINISHED", "KILLED"]
    decisions = [str(decision) for decision in RetrainingTriggers(world.engine).decisions(world.model)]
    assert f"none: retraining {one.id} is open" in decisions
