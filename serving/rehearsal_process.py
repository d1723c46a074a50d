"""The process in which models are loaded first: `python -m serving.rehearsal_process --fd N`, started by `command.py`.

It imports what models need, once, and then forks for each request: a copy that loads the model under limits, and one
that watches the first and answers. A model that crashes, hangs or eats memory does so in a copy. It holds no settings
and no connection of ours, and has one thread (jemalloc stops its own around a fork), so forking it is safe. Who asks:
`rehearsal.py`.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import logging
import math
import os
import resource
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_NICE = 5
"""Scoring on the same machine comes first."""
_MAX_FILE_BYTES = 1024**2
_MAX_OPEN_FILES = 256
_MAX_ANSWER_BYTES = 16 * 1024

ENVIRONMENT = {
    # threads do not survive a fork; a rehearsal predicts a few rows
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "_MLFLOW_IS_IN_SERVING_ENVIRONMENT": "true",
}


def serve(listening: socket.socket) -> NoReturn:
    """Answer requests until the end of the process."""
    # ended copies are not waited for
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        with connection:
            if os.fork() == 0:
                listening.close()
                _and_end(lambda connection=connection: _answer(connection))


def _answer(connection: socket.socket) -> None:
    """Watch one rehearsal and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.settimeout(10)
    request = json.loads(connection.makefile("rb").readline())
    began = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        connection.close()
        os.close(reading)
        _and_end(lambda: _rehearse(request, writing))
    os.close(writing)
    said = _read(reading, began + request["timeout_s"])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    answer = _verdict(said, status, request)
    answer["took_s"] = round(time.monotonic() - began, 3)
    connection.sendall(json.dumps(answer).encode())


def _verdict(said: bytes | None, status: int, request: dict[str, Any]) -> dict[str, Any]:
    if said is None:
        return {"refused": f"loading it and predicting its input example took longer than {request['timeout_s']:g} s"}
    try:
        answer: dict[str, Any] = json.loads(said)
    except ValueError:
        ending = os.waitstatus_to_exitcode(status)
        how = f"signal {signal.Signals(-ending).name}" if ending < 0 else f"exit code {ending}"
        memory = f" or takes more than {request['memory_bytes']} bytes of memory" if -ending == signal.SIGKILL else ""
        return {"refused": f"loading it ends the process ({how}){memory}"}
    else:
        return answer


def _read(reading: int, until: float) -> bytes | None:
    """Read what a copy says; `None` when it has not ended in time."""
    said = b""
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        more = os.read(reading, _MAX_ANSWER_BYTES)
        if not more or len(said) > _MAX_ANSWER_BYTES:
            return said
        said += more


def _rehearse(request: dict[str, Any], writing: int) -> None:
    os.setpgid(0, 0)
    _limit(request["timeout_s"], request["memory_bytes"])
    from serving.loader import rehearse

    try:
        rehearse(Path(request["directory"]))
        answer: dict[str, Any] = {
            "loaded": True,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    except MemoryError:
        answer = {"refused": f"loading it takes more than {request['memory_bytes']} bytes of memory"}
    # a model's own loading code may raise anything; whatever it is, this version does not serve
    except Exception as exc:
        answer = {"refused": " ".join(str(exc).split())[:2000] or type(exc).__name__}
    os.write(writing, json.dumps(answer).encode())


def _limit(timeout_s: float, memory_bytes: int) -> None:
    """Bound what this copy may use; whoever kills it first, it is not the scoring process that dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        used = pages * resource.getpagesize()
    else:
        used = 0
    cpu_s = math.ceil(timeout_s)
    for what, most in (
        (resource.RLIMIT_AS, used + memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
    ):
        hard = resource.getrlimit(what)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bound, bound))
    os.nice(_NICE)
    # what a model prints belongs nowhere
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)


def _and_end(work: Any) -> NoReturn:
    """Do a copy's work and end it, without what a process does at its ordinary end."""
    try:
        work()
    # whatever it was, a copy must not return into the loop of the process it was forked from
    except BaseException:
        logger.exception("event=rehearsal_failed")
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Prepare, and serve."""
    arguments = argparse.ArgumentParser(prog="python -m serving.rehearsal_process")
    arguments.add_argument("--fd", type=int, required=True, help="listening Unix socket")
    given = arguments.parse_args()
    # a model's code has no business with our settings, the database's password among them
    for name in [name for name in os.environ if name.startswith("MLFLOW_EXT_")]:
        del os.environ[name]
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    from serving.loader import prepare

    prepare()
    # copies share the memory of what was imported for as long as the collector leaves it alone
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=given.fd) as listening:
        logger.info("event=rehearsals_ready pid=%d", os.getpid())
        serve(listening)


if __name__ == "__main__":
    main()
