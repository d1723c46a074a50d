"""`mlflow-ext up` on the shared stack: what it runs comes back, and others find it."""

import json
import os
import signal
import stat
from collections.abc import Callable

import httpx
import psutil
import pytest

from mlflow_ext import running
from tests.acceptance.running import Up
from tests.conftest import wait_until

PARTS = ("postgres", "mlflow", "serving", "drift")


def health(stack: Up) -> dict[str, bool]:
    """Ask `status` from another shell."""
    document = json.loads(stack.cli("status", "--json", check=False).stdout)
    return {part["part"]: part["ok"] for part in document["parts"]}


def test_it_says_where_everything_is(stack: Up) -> None:
    """The table of addresses, and of who may ask, is printed once all is ready, and what it names answers."""
    assert "ready in" in stack.output
    assert stack.mlflow_url in stack.output
    assert stack.serving_url in stack.output
    assert "anyone who reaches it (auth: none" in " ".join(stack.output.replace("│", " ").split())
    assert httpx.get(f"{stack.mlflow_url}/health").status_code == 200
    assert httpx.get(f"{stack.serving_url}/readyz").status_code == 200


def test_status_finds_it_from_another_shell(stack: Up) -> None:
    """In the same directory `status` needs no settings, every part is well, and the exit code is 0."""
    wait_until(lambda: all(health(stack).values()), 60, lambda: stack.cli("status", check=False).stdout)
    assert set(health(stack)) == {"postgres", "mlflow", "serving", "promotion", "drift", "triggers", "prediction log"}
    assert "ok" in stack.cli("status").stdout


def test_the_database_url_is_kept_from_others(stack: Up) -> None:
    """No process names the database's address on its command line, and the state file is its owner's alone."""
    lines = [" ".join(process.cmdline()) for process in stack.family()]
    assert lines
    assert [line for line in lines if "postgresql" in line and "://" in line] == []
    assert stat.S_IMODE(running.state_file(stack.data_dir).stat().st_mode) == 0o600


def test_a_second_up_on_the_same_data_directory_says_so(stack: Up) -> None:
    """It exits 3, names the directory and the process, and disturbs nothing."""
    again = stack.cli("up", "--mlflow-port", "0", "--serving-port", "0", check=False)
    assert again.returncode == 3
    assert str(stack.data_dir) in again.stderr
    assert str(stack.process.pid) in again.stderr
    assert httpx.get(f"{stack.mlflow_url}/health").status_code == 200


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_comes_back_healthy(stack: Up, part: str) -> None:
    """After kill -9 of a part it runs under a new process id, and `status` finds every part well again."""
    before = stack.find().parts[part]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: stack.find().parts.get(part, before) != before, 60, stack.explain)
    wait_until(lambda: all(health(stack).values()), 120, stack.explain)
    assert psutil.pid_exists(stack.find().parts[part])
    assert not psutil.pid_exists(before)


def test_a_database_that_does_not_answer_is_a_clear_error(start_up: Callable[..., Up]) -> None:
    """With an address that nobody answers at, it ends with exit code 1, the reason, and nothing left running."""
    up = start_up(environment={"MLFLOW_EXT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/mlflow"})
    assert up.process.wait(120) == 1
    assert "PostgreSQL does not answer" in up.output
    assert up.family() == []
