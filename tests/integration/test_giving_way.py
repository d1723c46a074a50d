"""Processes that give way to others, on a real scheduler."""

import os
import platform
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from mlflow_ext.giving_way import be_prompt, give_way, give_way_here
from tests.conftest import wait_until

BUSY = "while True: pass"


def _takes_slices() -> bool:
    release = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])
    told = Path("/proc/self/sched")
    return release >= (6, 12) and told.exists() and "se.slice" in told.read_text()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux lets two processes share one core")
def test_a_session_of_its_own_computes_less_while_others_want_to() -> None:
    """Two busy sessions on one core: the one that gives way gets less than a third of the other's time."""
    core = {min(os.sched_getaffinity(0))}
    processes = [subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True) for _ in range(2)]
    others, yielding = (psutil.Process(process.pid) for process in processes)
    try:
        give_way(yielding.pid, 10)
        for one in processes:
            os.sched_setaffinity(one.pid, core)
        before = [one.cpu_times().user for one in (others, yielding)]
        wait_until(lambda: others.cpu_times().user - before[0] > 2, 60)
        theirs, ours = (one.cpu_times().user - was for one, was in zip((others, yielding), before, strict=True))
        assert ours < theirs / 3
    finally:
        for one in processes:
            one.kill()
            one.wait()


GROUPED = Path("/proc/self/autogroup").exists() and Path("/proc/self/autogroup").read_text() != ""


@pytest.mark.skipif(not GROUPED, reason="this Linux does not share time among sessions")
def test_a_session_says_itself_that_it_gives_way_and_takes_it_back() -> None:
    """Only the group becomes nicer, so that an ordinary user may take it back; who leads no session changes nothing."""
    script = (
        "import os\n"
        "from pathlib import Path\n"
        "from mlflow_ext.giving_way import session_gives_way\n"
        "group = Path('/proc/self/autogroup')\n"
        "for niceness in (7, 0):\n"
        "    session_gives_way(niceness)\n"
        "    print(group.read_text().split()[-1], os.getpriority(os.PRIO_PROCESS, 0))\n"
    )
    nice = os.nice(0)
    found = subprocess.run([sys.executable, "-c", script], start_new_session=True, capture_output=True, check=True)
    assert found.stdout.decode().split("\n")[:2] == [f"7 {nice}", f"0 {nice}"]
    before = Path("/proc/self/autogroup").read_text()
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert Path("/proc/self/autogroup").read_text() == before


def test_a_process_of_a_shared_session_does_not_slow_down_the_session() -> None:
    """Only the process itself becomes nicer; the session's priority stays."""
    group = Path("/proc/self/autogroup")
    # empty where a control group weighs the processes instead
    before = group.read_text() if group.exists() else ""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        give_way(process.pid, 10)
        assert psutil.Process(process.pid).nice() == max(10, os.nice(0))
        assert (group.read_text() if group.exists() else "") == before
    finally:
        process.communicate(b"\n")


@pytest.mark.skipif(not _takes_slices(), reason="Linux 6.12 is the first to give slices, and not all tell of them")
def test_it_takes_long_slices() -> None:
    """Whoever wakes up beside it and wants shorter ones comes first, as others do, too, who ask for nothing."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        give_way(process.pid, 10)
        told = Path(f"/proc/{process.pid}/sched").read_text().splitlines()
        assert [line.split(":")[1].strip() for line in told if line.startswith("se.slice")] == ["20000000"]
    finally:
        process.communicate(b"\n")


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) != os.cpu_count() or os.cpu_count() == 1,
    reason="only Linux lets a process keep off a processor, and only where there are several and nobody has chosen",
)
def test_all_who_give_way_leave_the_same_processor() -> None:
    """Processes, threads, and what they begin keep off the first one; whoever does not give way may use it."""
    every = os.sched_getaffinity(0)
    script = (
        "import os\n"
        "from mlflow_ext.giving_way import give_way, give_way_here\n"
        "input()\n"
        "give_way(os.getpid(), 12)\n"
        "give_way_here(3)\n"
        "print(sorted(os.sched_getaffinity(0)))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    give_way(process.pid, 10)
    assert process.communicate(b"\n")[0].decode().strip() == str(sorted(every - {min(every)}))

    def give() -> set[int]:
        give_way_here(3)
        return os.sched_getaffinity(threading.get_native_id())

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(give).result() == every - {min(every)}
    assert os.sched_getaffinity(0) == every


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process keep off a processor")
@pytest.mark.parametrize(("may_use", "there_are"), [({0}, 1), ({1, 2, 3}, 4), ({2, 5}, 8)])
def test_who_has_been_told_which_processors_to_use_keeps_them(
    monkeypatch: pytest.MonkeyPatch, may_use: set[int], there_are: int
) -> None:
    """The only one there is, what a parent left, and what somebody chose."""
    chosen: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: may_use)
    monkeypatch.setattr(os, "cpu_count", lambda: there_are)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, some: chosen.append(some))
    with ThreadPoolExecutor(1) as threads:
        threads.submit(give_way_here, 3).result()
    assert chosen == []


def test_niceness_0_changes_nothing() -> None:
    """As all others."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        before = psutil.Process(process.pid).nice()
        give_way(process.pid, 0)
        assert psutil.Process(process.pid).nice() == before
        if sys.platform == "linux":
            assert os.sched_getaffinity(process.pid) == os.sched_getaffinity(0)
    finally:
        process.communicate(b"\n")


def test_who_is_nicer_already_stays_so() -> None:
    """Begun by somebody who is nice: only root could take that back."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        os.setpriority(os.PRIO_PROCESS, process.pid, 15)
        give_way(process.pid, 10)
        assert psutil.Process(process.pid).nice() == 15
    finally:
        process.communicate(b"\n")


def test_who_has_ended_is_passed_over() -> None:
    """No error for a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    give_way(process.pid, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
@pytest.mark.parametrize("nice", [10, 18])
def test_a_thread_comes_after_a_service_that_is_nice_itself(nice: int) -> None:
    """The thread comes after its process, however nice that is, takes long slices, and no other thread is moved."""
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    nice = max(nice, before)

    def give() -> tuple[int, list[str]]:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, nice)
        give_way_here(5)
        told = Path(f"/proc/self/task/{thread}/sched").read_text().splitlines() if _takes_slices() else []
        slices = [line.split(":")[1].strip() for line in told if line.startswith("se.slice")]
        return os.getpriority(os.PRIO_PROCESS, thread), slices

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(give).result() == (min(19, nice + 5), ["20000000"] if _takes_slices() else [])
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


@pytest.mark.skipif(not _takes_slices(), reason="Linux 6.12 is the first to give slices, and not all tell of them")
def test_who_is_to_answer_soon_takes_short_slices_and_stays_as_nice() -> None:
    """The thread and those that it begins; the others keep theirs."""

    def told() -> tuple[str, int]:
        thread = threading.get_native_id()
        lines = Path(f"/proc/self/task/{thread}/sched").read_text().splitlines()
        [length] = [line.split(":")[1].strip() for line in lines if line.startswith("se.slice")]
        return length, os.getpriority(os.PRIO_PROCESS, thread)

    def prompt() -> list[tuple[str, int]]:
        be_prompt()
        with ThreadPoolExecutor(1) as begun:
            return [told(), begun.submit(told).result()]

    before = told()
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(prompt).result() == [("500000", before[1])] * 2
    assert told() == before
