"""Fixtures that every integration test may use, and programs for tests that need another user."""

import fcntl
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_ext.passage import SystemUser, closed_directories
from tests.conftest import SHARED_MLFLOW
from tests.integration.supervised import Driven


@pytest.fixture(scope="module", autouse=True)
def models_end_with_their_module(pytestconfig: pytest.Config) -> Iterator[None]:
    """The registry that tests share holds one module's models at a time: each service loads whatever it finds there."""
    yield
    url = pytestconfig.stash.get(SHARED_MLFLOW, None)
    if url is None:
        return
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    for model in client.search_registered_models(max_results=1000):
        # a guarded one may refuse; it stays
        with suppress(MlflowException):
            client.delete_registered_model(model.name)


@pytest.fixture
def open_tmp_path() -> Iterator[Path]:
    """A directory that every user may enter (pytest's own are closed to others)."""
    directory = Path(tempfile.mkdtemp(prefix="mlflow-ext-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def run_as(user: SystemUser, command: list[str]) -> "subprocess.CompletedProcess[bytes]":
    """Run a command as another user; needs root."""
    return subprocess.run(
        command, user=user.uid, group=user.gid, extra_groups=[], cwd="/", capture_output=True, check=False
    )


def as_ordinary(uid: int) -> list[str]:
    """Give the words before a command that run it as an ordinary user; needs root.

    The interpreter may lie below root's own closed home directory: reading past that is all the user may do more.
    """
    words = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    if closed_directories(Path(sys.executable).resolve().parent, SystemUser("ordinary", uid, uid)):
        words += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return words


@pytest.fixture
def drive(open_tmp_path: Path) -> Iterator[Callable[..., Driven]]:
    """Start drivers on this test's directory; nothing of theirs outlives the test."""
    started: list[Driven] = []

    def start(
        *parts: dict[str, Any], data_dir: Path = open_tmp_path / "data", postgres: bool = False, **popen: Any
    ) -> Driven:
        driven = Driven(data_dir, {"parts": parts, "postgres": postgres}, **popen)
        started.append(driven)
        return driven

    yield start
    for driven in started:
        if driven.process.poll() is None:
            driven.end()
        for process in driven.left():
            process.kill()


@contextmanager
def named(uid: int) -> Iterator[None]:
    """Give a user id a name and a group for the time of a test: PostgreSQL looks its user up.

    One test at a time: others run beside it. A test that was killed leaves the user behind.
    """
    name = f"mlflow-ext-{uid}"
    with Path(tempfile.gettempdir(), name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["userdel", "--force", name], check=False, capture_output=True)
        subprocess.run(["useradd", "--no-create-home", "--uid", str(uid), name], check=True, capture_output=True)
        try:
            yield
        finally:
            subprocess.run(["userdel", "--force", name], check=False, capture_output=True)
