"""What runs on a data directory: one holder at a time, and a state file that is never believed without one."""

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_ext import bootstrap, running
from mlflow_ext.config import load
from mlflow_ext.errors import AlreadyRunningError, InvalidSettingsError

STACK = running.Stack(
    pid=os.getpid(),
    started_at="2026-11-21T00:00:00+00:00",
    database_url="postgresql+psycopg2://u:p@h/d",
    mlflow_url="http://127.0.0.1:5001",
    serving_url="http://127.0.0.1:8001",
    embedded=True,
    parts={"mlflow": 1},
)
HOLD = """
import sys, time, pathlib
from mlflow_ext import running
with running.exclusive(pathlib.Path(sys.argv[1])):
    print(1, flush=True)
    time.sleep(600)
"""


def test_a_data_directory_has_one_holder(tmp_path: Path) -> None:
    """A second holder is refused with the first one's process id; after kill -9 of the first the way is free."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert running.is_held(tmp_path)
        with pytest.raises(AlreadyRunningError, match=str(holder.pid)), running.exclusive(tmp_path):
            pass
        holder.kill()
    assert not running.is_held(tmp_path)
    with running.exclusive(tmp_path):
        assert running.is_held(tmp_path)


def test_the_state_file_is_its_owners_and_counts_only_while_somebody_holds_the_directory(tmp_path: Path) -> None:
    """What was written is found under the lock, and is stale without it."""
    with running.exclusive(tmp_path):
        running.write(tmp_path, STACK)
        assert stat.S_IMODE(running.state_file(tmp_path).stat().st_mode) == 0o600
        assert running.find(tmp_path) == STACK
    assert running.state_file(tmp_path).exists()
    assert running.find(tmp_path) is None


def test_a_killed_ones_state_file_is_not_believed_when_the_next_one_has_the_directory(tmp_path: Path) -> None:
    """The next one holds the directory, but has not come to removing the file yet."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    running.write(tmp_path, replace(STACK, pid=ended.pid))
    with running.exclusive(tmp_path):
        assert running.find(tmp_path) is None


def test_other_commands_take_unset_addresses_from_the_running_stack(tmp_path: Path) -> None:
    """Settings that are set win; a database of another deployment means that nothing of this one applies."""
    with running.exclusive(tmp_path):
        running.write(tmp_path, STACK)
        here = {"MLFLOW_EXT_DATA_DIR": str(tmp_path)}
        found = bootstrap.running(load(here))
        assert (found.require_database_url(), found.mlflow_url) == (STACK.database_url, STACK.mlflow_url)
        own = bootstrap.running(load(here | {"MLFLOW_EXT_MLFLOW_URL": "http://mlflow.example"}))
        assert (own.mlflow_url, own.serving_url) == ("http://mlflow.example", STACK.serving_url)
        other = bootstrap.running(load(here | {"MLFLOW_EXT_DATABASE_URL": "postgresql://other/d"}))
        assert other.mlflow_url != STACK.mlflow_url


def test_the_data_directory_is_closed_to_others(tmp_path: Path) -> None:
    """Others cannot list it (root's lets PostgreSQL's system user pass through); one that cannot be made is named."""
    made = running.make_data_dir(tmp_path / "a" / "b")
    assert stat.S_IMODE(made.stat().st_mode) in {0o700, 0o711}
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidSettingsError, match="--data-dir"):
        running.make_data_dir(tmp_path / "file" / "data")
