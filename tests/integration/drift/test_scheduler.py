"""`mlflow-ext drift schedule` as processes: several of them, killed, stopped; one report per slot throughout."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime

import psutil
import pytest
from sqlalchemy import text

from mlflow_ext.domain.drift import CheckState, DriftCheck
from mlflow_ext.registry.drift_history import HISTORY_TAG
from mlflow_ext.registry.drift_runs import SLOT_TAG
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.replicas import Replicas
from tests.conftest import wait_until
from tests.integration.drift.conftest import World, rows_like_training


def checks_of(world: World) -> list[DriftCheck]:
    """The model's checks."""
    return Checks(world.engine).history(world.model, 1_000)


def slots_in_mlflow(world: World) -> Counter[str]:
    """How many runs each slot has."""
    experiment = world.client.get_experiment_by_name(f"mlflow-ext/drift/{world.model}")
    runs = [] if experiment is None else world.client.search_runs([experiment.experiment_id], max_results=1_000)
    return Counter(run.data.tags[SLOT_TAG] for run in runs if HISTORY_TAG not in run.data.tags)


def living(world: World) -> int:
    """How many schedulers live."""
    return len(Replicas(world.engine).living(role="drift"))


def score_now(world: World) -> None:
    """Predictions of the last seconds, so that every window from now on has them."""
    world.score(rows_like_training(150, seed=1, shift=1.0), since=datetime.now(UTC), batch=150)


def lease_owner(world: World) -> str | None:
    """Which scheduler computes a check of the model."""
    with world.engine.connect() as connection:
        return connection.execute(
            text("SELECT lease_owner FROM mlflow_ext.drift_check WHERE model = :model AND state = 'running'"),
            {"model": world.model},
        ).scalar()


def test_two_schedulers_one_killed_in_a_check_make_one_report_per_slot(world: World) -> None:
    """The one that computes is killed with -9, children and all; the other finishes its slot: one run each."""
    world.with_policy(schedule="* * * * * */4", window_s=3_600.0)
    score_now(world)
    started = [world.start("drift", "schedule") for _ in range(2)]
    wait_until(lambda: lease_owner(world), 60, world.logs)
    owner = str(lease_owner(world))
    [killed] = [process for process in started if f":{process.pid}:" in owner]
    claimed = next(check for check in checks_of(world) if check.state is CheckState.RUNNING)
    killed.kill()
    killed.wait()
    wait_until(lambda: Checks(world.engine).get(claimed.id).state is CheckState.DONE, 90, world.logs)
    assert Checks(world.engine).get(claimed.id).attempt >= 2
    wait_until(lambda: sum(check.state is CheckState.DONE for check in checks_of(world)) >= 3, 60, world.logs)
    [survivor] = [process for process in started if process is not killed]
    survivor.terminate()
    assert survivor.wait(15) == 0

    checks = checks_of(world)
    done = {check.key for check in checks if check.state is CheckState.DONE}
    assert len({check.slot for check in checks}) == len(checks)
    found = slots_in_mlflow(world)
    assert done <= set(found)
    assert set(found.values()) == {1}
    assert living(world) <= 1
    assert all(check.report is None or check.report.window_rows == 150 for check in checks)


def test_sigterm_ends_it_within_seconds_in_the_middle_of_a_check(world: World) -> None:
    """No process is left, what it held is free at once, and it has said goodbye."""
    score_now(world)
    process = world.start("drift", "schedule")
    wait_until(lambda: living(world), 30, world.logs)
    asked = Checks(world.engine).request(world.model, window_s=3_600, version=None, since=None, until=None)
    wait_until(lambda: Checks(world.engine).get(asked.id).state is CheckState.RUNNING, 60, world.logs)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    began = time.monotonic()
    process.terminate()
    assert process.wait(10) == 0
    assert time.monotonic() - began < 8
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    with world.engine.begin() as connection:
        left = connection.execute(
            text("DELETE FROM mlflow_ext.drift_check WHERE id = :id RETURNING lease_owner"), {"id": asked.id}
        ).scalar_one()
    assert left is None


def test_the_command_waits_for_a_living_scheduler_and_prints_its_answer(world: World) -> None:
    """`drift run` lets the scheduler work, `drift history` shows it; a killed child is started anew."""
    score_now(world)
    world.start("drift", "schedule")
    wait_until(lambda: living(world), 30, world.logs)

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

    first = command("run", world.model, "--json")
    assert first.returncode == 0, first.stderr + world.logs()
    answer = json.loads(first.stdout)
    assert answer["verdict"] == "drift"
    assert answer["run_id"] in answer["run_url"]
    # the worker that computed it is warm; the next check shall not depend on it
    [replica] = Replicas(world.engine).living(role="drift")
    assert isinstance(replica.state["checks"], int)
    os.kill(replica.state["checks"], signal.SIGKILL)
    second = command("run", world.model)
    assert second.returncode == 0, second.stderr + world.logs()
    assert "drift" in second.stdout
    assert "region" in second.stdout
    shown = command("history", world.model)
    assert shown.stdout.count("drift") >= 2
    assert "50%" in shown.stdout
    assert len(json.loads(command("history", world.model, "--json").stdout)) == 2


@pytest.mark.parametrize("arguments", [["run", "nobody"], ["run", "nobody", "--since", "yesterday"]])
def test_mistakes_are_clear(world: World, arguments: list[str]) -> None:
    """An unknown model and a time that is none are errors, not tracebacks."""
    result = subprocess.run(
        [sys.executable, "-m", "mlflow_ext.cli", "drift", *arguments],
        env=world.environment(),
        cwd=world.directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode in {1, 2}
    assert "Traceback" not in result.stderr
    assert "nobody" in result.stderr or "yesterday" in result.stderr
