"""Real worker processes that start in milliseconds: one process imports everything once, and forks the others.

`python -m tests.integration.sweep.nursery` reads one JSON object a line, `{"role", "environment", "arguments", "log"}`,
and answers with the process id; it tells which process has ended, with its code. It ends with its standard input, and
takes all of its children with it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.integration.sweep import points


class Nursery:
    """The test's side of it."""

    def __init__(self, directory: Path) -> None:
        """Start it; the logs of the processes go to the directory."""
        self.directory = directory
        self._count = 0
        self._ended: dict[int, int] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.sweep.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self, role: str, environment: Mapping[str, str], arguments: Sequence[str] = ()) -> int:
        """Start a `worker`, a person's `command`, or `mlflow` on a port; gives its process id."""
        self._count += 1
        log = self.directory / f"{role}-{self._count}.log"
        self._say({"role": role, "environment": environment, "arguments": list(arguments), "log": str(log)})
        pid = int(self._until("started")["started"])
        # a long sweep comes round to the numbers of processes that ended long ago
        self._ended.pop(pid, None)
        return pid

    def ended(self, pid: int) -> int | None:
        """Give a process's code, negative for a signal; `None` while it lives."""
        if pid not in self._ended:
            self._say({"role": "look"})
            self._until("looked")
        return self._ended.get(pid)

    def logs(self) -> str:
        """What the processes said."""
        return "\n".join(f"--- {file.name}\n{file.read_text()}" for file in sorted(self.directory.glob("*.log")))

    def close(self) -> None:
        """End everything."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def _say(self, order: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _until(self, key: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if "ended" in answer:
                self._ended[answer["ended"]] = answer["code"]
            if key in answer:
                return answer
        raise AssertionError("the nursery has ended")


def _tell(**answer: int) -> None:
    print(json.dumps(answer), flush=True)


def _child(order: dict[str, Any]) -> None:
    """Become the process that is asked for; never returns."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order["environment"])
    code = 0
    try:
        points.arm()
        if order["role"] == "worker":
            from mlflow_ext.registry import evaluator
            from serving import worker

            evaluator._MODULE = "tests.integration.sweep.quick_evaluation"
            worker.main()
        elif order["role"] == "mlflow":
            import uvicorn

            from mlflow_ext.plugins.app import create_app

            uvicorn.run(create_app(), host="127.0.0.1", port=int(order["arguments"][0]), log_level="warning")
        else:
            from mlflow_ext.cli import cli

            cli(order["arguments"])
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        print(exc.code, file=sys.stderr)
    except BaseException as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Serve until standard input ends."""
    import mlflow.pyfunc  # noqa: F401  (what the worker would import at its first use)

    import serving.worker  # noqa: F401

    for line in sys.stdin:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                _tell(ended=ended[0], code=os.waitstatus_to_exitcode(ended[1]))
        order = json.loads(line)
        if order["role"] == "look":
            _tell(looked=1)
            continue
        child = os.fork()
        if child == 0:
            _child(order)
        _tell(started=child)


if __name__ == "__main__":
    main()
