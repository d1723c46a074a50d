"""Health: each part's question has a true answer, with a reason when it is no."""

import socket
import subprocess
import sys

import pytest
from sqlalchemy import Engine, text

from mlflow_ext import health
from mlflow_ext.errors import InvalidInputError
from mlflow_ext.health import (
    check_database,
    check_mlflow,
    check_prediction_log,
    check_role,
    check_serving,
    check_triggers,
)
from mlflow_ext.store.replicas import Replicas, new_replica_id


def test_mlflow_is_asked_for_something_that_needs_its_database(mlflow_url: str) -> None:
    """A running server is well; an address where nobody listens is not."""
    assert check_mlflow(mlflow_url).ok
    nobody = check_mlflow("http://127.0.0.1:1")
    assert not nobody.ok
    assert "does not answer" in nobody.detail


def test_an_answer_that_is_not_200_is_not_well(mlflow_url: str) -> None:
    """MLflow's server at the promotion service's address is told apart."""
    answer = check_serving(mlflow_url)
    assert not answer.ok
    assert "404" in answer.detail


def test_a_database_without_our_tables_is_not_well(database_url: str, empty_database_url: str) -> None:
    """The answer says which command helps; a database that is not there is not well either."""
    assert check_database(database_url).ok
    assert "mlflow-ext db upgrade" in check_database(empty_database_url).detail
    assert not check_database("postgresql://nobody@127.0.0.1:1/none").ok


def test_a_missing_trigger_is_told(engine: Engine, database_url: str) -> None:
    """Without one of the triggers polling carries the changes, and the answer says how to get it back."""
    assert check_triggers(database_url).ok
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER mlflow_ext_registry_change ON model_version_tags"))
    missing = check_triggers(database_url)
    assert not missing.ok
    assert "mlflow-ext db upgrade" in missing.detail


def test_a_killed_process_is_not_taken_for_a_living_one(engine: Engine, database_url: str) -> None:
    """On its own machine a row counts only while its process is there; elsewhere the last sign of life decides."""
    Replicas(engine).announce(new_replica_id(), "drift", None, {})
    here = socket.gethostname()
    assert check_role(database_url, "drift", host=here).ok
    assert not check_role(database_url, "drift", host="another-machine").ok
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with engine.begin() as connection:
        connection.execute(text("UPDATE mlflow_ext.replica SET pid = :pid"), {"pid": gone.pid})
    assert not check_role(database_url, "drift", host=here).ok
    assert check_role(database_url, "drift").ok


def test_a_prediction_log_that_loses_is_not_well(database_url: str, engine: Engine) -> None:
    """What scoring processes say about losses is added up; only a present loss is a fault, a past one is told."""
    assert check_prediction_log(database_url).ok
    replicas, one, other = Replicas(engine), new_replica_id(), new_replica_id()
    told = {"lost": {"full": 3}, "last_lost_at": "2026-01-01T00:00:00+00:00", "losing": True}
    replicas.announce(one, "scoring", None, {"wine": {"version": 1, "log": told}})
    replicas.announce(other, "scoring", None, {"wine": {"version": 1, "log": {**told, "losing": False}}, "tea": {}})
    losing = check_prediction_log(database_url)
    assert not losing.ok
    assert "losing predictions of wine" in losing.detail
    assert "6 for want of room" in losing.detail
    replicas.leave(one)
    past = check_prediction_log(database_url)
    assert past.ok
    assert "3 for want of room" in past.detail


def test_the_command_for_containers_exits_by_health(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m mlflow_ext.health PART` gives 0 or 1; an unknown part is an error that names the known ones."""
    monkeypatch.setenv("MLFLOW_EXT_DATABASE_URL", database_url)
    assert health.main(["postgres"]) == 0
    assert health.main(["drift"]) == 1
    with pytest.raises(InvalidInputError, match="postgres"):
        health.main(["everything"])
