"""One running stack for all acceptance tests; a test that has to stop or break it starts one of its own.

A test module that needs policies says so in a module-level `POLICIES = {"model": {...}}` (the `models` section of
`mlflow-ext.yaml`) and uses model names of its own; the shared stack is started with the policies of all of them.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import running

SETTINGS = {"reconcile_s": 2.0, "lease_s": 5.0}
"""Settings of the shared stack: impatient, so that tests of the safety nets do not wait for half a minute."""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that every user may enter, for a stack of the test's own."""
    yield from _directory()


@pytest.fixture
def start_up(directory: Path) -> Iterator[Callable[..., running.Up]]:
    """Start stacks in the test's own directory; they are stopped, or killed, at its end."""
    started: list[running.Up] = []

    def start(*, where: Path = directory, **options: Any) -> running.Up:
        started.append(running.start(where, **options))
        return started[-1]

    yield start
    for up in started:
        running.clear(up)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[running.Up]:
    """The shared stack, ready."""
    policies: dict[str, Any] = {}
    for item in request.session.items:
        policies |= getattr(getattr(item, "module", None), "POLICIES", {})
    for directory in _directory():
        # six more processes that import MLflow would only make everything slower; test_up_ends.py keeps them
        environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        up = running.start(directory, {**SETTINGS, "models": policies}, environment=environment)
        try:
            yield up.wait_ready()
        finally:
            running.clear(up)


def _directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="mlflow-ext-up-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
