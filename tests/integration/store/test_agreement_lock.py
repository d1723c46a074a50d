"""The lock under which one process brings a model's marks into agreement, when its holder is slow or stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.pointers import SqlPointers

HOLDER = """
import sys, time
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.pointers import SqlPointers
with SqlPointers(make_engine(sys.argv[1])).hold("m"):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def holder(database_url: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process, which holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, database_url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_stopped_holder_loses_it_before_others_give_up(holder: "subprocess.Popen[str]", engine: Engine) -> None:
    """SIGSTOP while it is held: the next one gets it within its own wait of ten seconds."""
    os.kill(holder.pid, signal.SIGSTOP)
    with SqlPointers(engine).hold("m"):
        pass


def test_a_slow_holder_keeps_it(holder: "subprocess.Popen[str]", engine: Engine) -> None:
    """A holder that lives, but takes longer than a stopped one may: nobody else gets it in ten seconds."""
    with pytest.raises(UnavailableError, match="lock timeout"), SqlPointers(engine).hold("m"):
        pytest.fail("it was held twice")
    assert holder.poll() is None
