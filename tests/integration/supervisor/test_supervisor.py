"""The supervisor: order, restarts, limits, and nothing left behind."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import wait_until
from tests.integration.supervised import Driven

Drive = Callable[..., Driven]
SLEEP = "import time; print('here', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({ready!r}, 'w'); time.sleep(600)"
# a grandchild in a session of its own that ignores SIGTERM and whose parent is gone: as bad as MLflow's jobs get
ORPHAN = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open({file!r}, 'w').write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
time.sleep(600)
"""


def test_parts_start_in_order_and_stop_in_reverse(drive: Drive, tmp_path: Path) -> None:
    """A part starts when the one before it is ready; SIGTERM stops the last one first, and the exit code is 0."""
    ready = str(tmp_path / "a-ready")
    slow = f"import time; time.sleep(0.3); open({ready!r}, 'w'); time.sleep(600)"
    driven = drive({"name": "a", "code": slow, "ready": ready}, {"name": "b", "code": SLEEP})
    driven.wait_for(all="ready")
    told = [(event["part"], event["phase"]) for event in driven.events if "part" in event]
    assert told == [("a", "starting"), ("a", "ready"), ("b", "starting"), ("b", "ready")]
    assert driven.end() == 0
    assert driven.phases("stopped") == ["b", "a"]
    assert driven.left() == []


def test_a_killed_part_comes_back(drive: Drive) -> None:
    """After kill -9 of a part it is ready again under a new process id, and the others were left alone."""
    driven = drive({"name": "a", "code": SLEEP}, {"name": "b", "code": SLEEP})
    driven.wait_for(all="ready")
    first = driven.wait_for(part="a", phase="ready")["pid"]
    os.kill(first, signal.SIGKILL)
    assert "SIGKILL" in driven.wait_for(part="a", phase="pausing")["detail"]
    wait_until(lambda: driven.phases("ready").count("a") == 2, 10)
    assert driven.wait_for(part="a", phase="ready")["pid"] != first
    assert driven.phases("ready").count("b") == 1
    assert driven.end() == 0


def test_a_part_that_never_comes_up_ends_everything_with_its_last_words(drive: Drive, tmp_path: Path) -> None:
    """The error names the part, its exit code and its last lines; what ran before it is stopped."""
    failing = {"code": "print('no such table'); raise SystemExit(7)", "ready": str(tmp_path / "never")}
    driven = drive({"name": "a", "code": SLEEP}, {"name": "b", **failing})
    error = driven.wait_for_error()
    assert "b ended with exit code 7" in error
    assert "no such table" in error
    assert driven.process.wait(10) == 1
    assert driven.phases("starting").count("b") == 3
    assert driven.left() == []


def test_a_step_that_fails_is_not_tried_again(drive: Drive) -> None:
    """A part that is to run once (a migration) ends everything at its first failure."""
    driven = drive({"name": "step", "code": "raise SystemExit(3)", "once": True}, {"name": "b", "code": SLEEP})
    assert "step ended with exit code 3" in driven.wait_for_error()
    assert driven.phases("starting") == ["step"]


def test_a_part_that_is_not_ready_in_time_is_replaced(drive: Drive, tmp_path: Path) -> None:
    """A process that hangs at its start is killed and started again."""
    once, ready = tmp_path / "once", str(tmp_path / "ready")
    touch = f"os.path.exists({str(once)!r}) and open({ready!r}, 'w'); open({str(once)!r}, 'w')"
    code = f"import os, time; {touch}; time.sleep(600)"
    driven = drive({"name": "a", "code": code, "ready": ready, "ready_within_s": 1})
    driven.wait_for(all="ready")
    assert "not ready within 1 s" in driven.wait_for(part="a", phase="pausing")["detail"]


def test_an_orphan_in_a_session_of_its_own_is_found_when_its_part_is_restarted(drive: Drive, tmp_path: Path) -> None:
    """Killing a part also ends the descendants that left its process group, before it starts again."""
    file = tmp_path / "orphan"
    driven = drive({"name": "a", "code": ORPHAN.format(file=str(file))})
    orphan = _pid_in(file)
    file.unlink()
    os.kill(driven.wait_for(part="a", phase="ready")["pid"], signal.SIGKILL)
    assert _pid_in(file, timeout_s=20) != orphan
    assert not psutil.pid_exists(orphan)
    assert driven.end() == 0
    assert driven.left() == []


def test_a_part_that_ignores_the_request_to_stop_is_killed(drive: Drive, tmp_path: Path) -> None:
    """SIGTERM is not the last word."""
    ready = str(tmp_path / "ready")
    driven = drive({"name": "a", "code": STUBBORN.format(ready=ready), "ready": ready, "stop_within_s": 0.5})
    driven.wait_for(all="ready")
    assert driven.end(signal.SIGINT) == 0
    assert driven.left() == []


def test_a_second_signal_hurries(drive: Drive, tmp_path: Path) -> None:
    """Ctrl-C twice does not wait for a part's full time to stop."""
    ready = str(tmp_path / "ready")
    driven = drive({"name": "a", "code": STUBBORN.format(ready=ready), "ready": ready, "stop_within_s": 600})
    driven.wait_for(all="ready")
    driven.process.send_signal(signal.SIGINT)
    driven.wait_for(phase="stopped")
    assert driven.end(signal.SIGINT) == 0


def test_nohup_is_respected(drive: Drive) -> None:
    """Started with nohup it survives its terminal, and goes on restarting what dies."""
    driven = drive({"name": "a", "code": SLEEP}, before=("nohup",))
    driven.wait_for(all="ready")
    driven.process.send_signal(signal.SIGHUP)
    os.kill(driven.wait_for(part="a", phase="ready")["pid"], signal.SIGKILL)
    wait_until(lambda: driven.phases("ready").count("a") == 2, 20)
    assert driven.end() == 0


@pytest.mark.parametrize("when", [0.0, 0.15, 0.4])
def test_a_signal_while_it_starts_stops_everything(drive: Drive, tmp_path: Path, when: float) -> None:
    """SIGTERM before all is ready leaves nothing behind, whatever it interrupts."""
    never = str(tmp_path / "never")
    driven = drive(
        {"name": "a", "code": SLEEP},
        {"name": "step", "code": f"import time; time.sleep({when})", "once": True},
        {"name": "b", "code": SLEEP, "ready": never},
    )
    driven.wait_for(part="step", phase="starting")
    assert driven.end() == 0
    assert driven.left() == []


def test_children_do_not_outlive_a_killed_supervisor(drive: Drive) -> None:
    """After kill -9 of the supervisor the kernel asks its children to end."""
    driven = drive({"name": "a", "code": SLEEP}, {"name": "b", "code": SLEEP})
    driven.wait_for(all="ready")
    pids = [driven.wait_for(part=name, phase="ready")["pid"] for name in "ab"]
    assert driven.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 10)


def test_what_a_killed_supervisor_left_is_found_by_its_mark(drive: Drive, tmp_path: Path) -> None:
    """A descendant that survives kill -9 of the supervisor still carries the data directory in its environment."""
    file = tmp_path / "orphan"
    driven = drive({"name": "a", "code": ORPHAN.format(file=str(file))})
    orphan = _pid_in(file)
    driven.end(signal.SIGKILL)
    assert orphan in [process.pid for process in driven.left()]


def test_output_goes_to_a_file_with_time_and_name(drive: Drive, tmp_path: Path) -> None:
    """Each line of a part's output, to its last unfinished one, is in its log file."""
    driven = drive(
        {"name": "a", "code": "import sys; print('one'); sys.stderr.write('two'); sys.stderr.close(); " + SLEEP}
    )
    driven.wait_for(all="ready")
    log = driven.data_dir / "logs" / "a.log"
    wait_until(lambda: "one" in log.read_text(), 5)
    driven.end()
    lines = [line.partition("Z a | ")[2] for line in log.read_text().splitlines()]
    assert next(line for line in lines if line.startswith("[")) == "[starting]"
    lines = [line for line in lines if not line.startswith("[")]
    assert sorted("".join(lines)) == sorted("onetwohere")


def _pid_in(file: Path, timeout_s: float = 10) -> int:
    wait_until(lambda: file.exists() and file.read_text(), timeout_s)
    return int(file.read_text())
