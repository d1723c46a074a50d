"""How `mlflow-ext up` ends, and how it begins again afterwards."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.acceptance.running import Up
from tests.conftest import wait_until
from tests.integration.conftest import as_ordinary, named

Start = Callable[..., Up]
ORDINARY_UID = 54_325


def register(up: Up, name: str) -> None:
    """Register a model through MLflow's API."""
    answer = httpx.post(f"{up.mlflow_url}/api/2.0/mlflow/registered-models/create", json={"name": name}, timeout=30)
    assert answer.status_code == 200, answer.text


def is_registered(up: Up, name: str) -> bool:
    """Ask MLflow's server for a model."""
    url = f"{up.mlflow_url}/api/2.0/mlflow/registered-models/get"
    return httpx.get(url, params={"name": name}, timeout=30).status_code == 200


@pytest.mark.timeout(900)  # three starts of everything
def test_it_recovers_from_kill_9_and_ends_without_a_trace(start_up: Start) -> None:
    """After kill -9 of `up` alone, and of its whole tree, the next `up` has the data; Ctrl-C leaves nothing running."""
    up = start_up().wait_ready()
    register(up, "kept")
    up.process.kill()
    up.process.wait(10)

    up = start_up().wait_ready()
    assert is_registered(up, "kept")
    for process in [up.process, *up.family()]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    up.process.wait(10)

    up = start_up().wait_ready()
    assert is_registered(up, "kept")
    family = up.family()
    # MLflow's server and its workers, PostgreSQL and its workers, ours: all of them have to go
    assert len(family) > 10
    assert up.stop(signal.SIGINT) == 0, up.explain()
    assert up.family() == []
    assert [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
    assert "everything is stopped" in up.output
    assert not (up.data_dir / "state.json").exists()


@pytest.mark.parametrize("moment", ["initdb     starting", "upgrade    starting", "mlflow     starting"])
def test_sigterm_while_it_starts(start_up: Start, moment: str) -> None:
    """SIGTERM in the middle of the start stops what runs by then, with exit code 0."""
    up = start_up()
    wait_until(lambda: moment in up.output, 90, up.explain)
    assert up.stop(signal.SIGTERM) == 0, up.explain()
    assert up.family() == []


def test_a_taken_port_is_named_before_anything_starts(start_up: Start, directory: Path) -> None:
    """Exit code 1, the option, the port and a way out; no database was made."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = start_up(arguments=("--mlflow-port", str(port), "--serving-port", str(port)))
        assert up.process.wait(60) == 1
    assert f"--mlflow-port: port {port} on 127.0.0.1 is taken" in up.output
    assert f"--serving-port: port {port} on 127.0.0.1 is taken" in up.output
    assert not (directory / ".mlflow-ext" / "postgres").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user; as one, all other tests say it")
def test_an_ordinary_user_runs_everything(start_up: Start, directory: Path) -> None:
    """Somebody without rights, in a home directory closed to others, gets the whole stack and SIGTERM ends it."""
    home = directory / "home"
    home.mkdir(mode=0o700)
    os.chown(home, ORDINARY_UID, ORDINARY_UID)
    with named(ORDINARY_UID):
        theirs = {"HOME": str(home), "TMPDIR": str(home), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        up = start_up(where=home, before=as_ordinary(ORDINARY_UID), environment=theirs).wait_ready()
        assert {process.uids().real for process in up.family()} == {ORDINARY_UID}
        assert up.stop() == 0, up.explain()
        assert up.family() == []
