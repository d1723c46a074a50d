"""The lock under which one process brings a model's marks into agreement, when its holder is slow or stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.pointers import SqlPointers
from tests.conftest import wait_until

HOLDER = """
import sys, time
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.pointers import SqlPointers
with SqlPointers(make_engine(sys.argv[1], name="holder")).hold("m"):
    print("held", flush=True)
    time.sleep(120)
"""
WAITS = text("SELECT 1 FROM pg_stat_activity WHERE application_name = 'holder' AND wait_event_type = 'Lock'")


@pytest.fixture
def holder(database_url: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process, which takes the lock as soon as it can."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, database_url], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_a_stopped_holder_loses_it_before_others_give_up(holder: "subprocess.Popen[str]", engine: Engine) -> None:
    """SIGSTOP while it is held: the next one gets it within its own wait of ten seconds."""
    wait_until_held(holder)
    os.kill(holder.pid, signal.SIGSTOP)
    with SqlPointers(engine).hold("m"):
        pass


def test_who_is_stopped_while_it_waits_loses_it_too(engine: Engine, request: pytest.FixtureRequest) -> None:
    """SIGSTOP before the lock is given to it: it never learns that it has the lock, and the next one gets it."""
    with SqlPointers(engine).hold("m"):
        waiting = request.getfixturevalue("holder")
        wait_until(lambda: _waits(engine), 30)
        os.kill(waiting.pid, signal.SIGSTOP)
    with SqlPointers(engine).hold("m"):
        pass


def test_a_slow_holder_keeps_it(holder: "subprocess.Popen[str]", engine: Engine) -> None:
    """A holder that lives, but takes longer than a stopped one may: nobody else gets it in ten seconds."""
    wait_until_held(holder)
    with pytest.raises(UnavailableError, match="lock timeout"), SqlPointers(engine).hold("m"):
        pytest.fail("it was held twice")
    assert holder.poll() is None


def wait_until_held(holder: "subprocess.Popen[str]") -> None:
    """Wait until the other process has the lock."""
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"


def _waits(engine: Engine) -> bool:
    with engine.connect() as connection:
        return connection.execute(WAITS).first() is not None
