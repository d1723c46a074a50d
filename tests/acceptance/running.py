"""One `mlflow-ext up` as a user starts it, in a directory of its own, on free ports."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from mlflow_ext import running
from mlflow_ext.config import normalise_database_url
from mlflow_ext.supervisor import leftovers

READY_S = 270.0


@dataclass
class Up:
    """A running (or once running) `mlflow-ext up`.

    Attributes:
        directory: Its working directory, with `mlflow-ext.yaml`.
        process: The command itself.
        environment: Environment in which it and other commands of the same directory run.
    """

    directory: Path
    process: "subprocess.Popen[bytes]"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        """Its data directory."""
        return self.directory / ".mlflow-ext"

    @property
    def output(self) -> str:
        """What it printed so far."""
        return (self.directory / "up.out").read_text(encoding="utf-8")

    def find(self) -> running.Stack:
        """Give its addresses and process ids, as other commands find them."""
        stack = running.find(self.data_dir)
        assert stack is not None, self.explain()
        return stack

    @property
    def mlflow_url(self) -> str:
        """Where MLflow's server is."""
        return self.find().mlflow_url

    @property
    def serving_url(self) -> str:
        """Where the promotion service is."""
        return self.find().serving_url

    @property
    def database_url(self) -> str:
        """PostgreSQL's URL."""
        return normalise_database_url(self.find().database_url)

    def cli(self, *arguments: str, check: bool = True, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run another command in the same directory, as from another shell."""
        done = subprocess.run(
            [*MLFLOW_EXT, *arguments],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def wait_ready(self, timeout_s: float = READY_S) -> "Up":
        """Wait until everything is ready."""
        end = time.monotonic() + timeout_s
        while running.find(self.data_dir) is None:
            assert self.process.poll() is None, f"ended with {self.process.returncode}\n{self.explain()}"
            assert time.monotonic() < end, f"not ready within {timeout_s} s\n{self.explain()}"
            time.sleep(0.05)
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout_s: float = 60) -> int:
        """Ask it to stop and give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as exc:
            raise AssertionError(f"did not stop within {timeout_s} s\n{self.explain()}") from exc

    def family(self) -> list[psutil.Process]:
        """Give every process that it started and that still lives, PostgreSQL's included."""
        data = str(self.data_dir.resolve() / "postgres")
        found = {process.pid: process for process in leftovers.of_stack(self.data_dir.resolve())}
        for process in psutil.process_iter():
            if _works_in(process, data):
                found[process.pid] = process
        return [*found.values()]

    def explain(self) -> str:
        """Give what it printed and the end of each log."""
        told = [self.output]
        for log in sorted((self.data_dir / "logs").glob("*.log")):
            told += [f"--- {log.name}", *log.read_text(encoding="utf-8").splitlines()[-40:]]
        return "\n".join(told)


MLFLOW_EXT = (sys.executable, "-m", "mlflow_ext.cli")


def start(
    directory: Path,
    config: dict[str, Any] | None = None,
    *,
    arguments: Sequence[str] = ("--mlflow-port", "0", "--serving-port", "0"),
    environment: dict[str, str] | None = None,
    before: Sequence[str] = (),
) -> Up:
    """Start `mlflow-ext up` in a directory.

    Args:
        directory: Its working directory; exists.
        config: What goes into its `mlflow-ext.yaml`; one that is there stays when it is `None`.
        arguments: Options of `up`.
        environment: Variables over those of the tests.
        before: Words before the command (`setpriv …`).
    """
    if config is not None:
        (directory / "mlflow-ext.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(config))), encoding="utf-8")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_EXT_", "MLFLOW_TRACKING"))}
    environ = clean | (environment or {})
    with (directory / "up.out").open("wb") as out:
        process = subprocess.Popen(
            [*before, *MLFLOW_EXT, "up", *arguments],
            cwd=directory,
            env=environ,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Up(directory, process, environ)


def clear(up: Up) -> None:
    """Stop it, and kill what should not be there any more."""
    try:
        if up.process.poll() is None:
            up.stop()
    finally:
        for process in up.family():
            process.kill()


def _works_in(process: psutil.Process, directory: str) -> bool:
    try:
        return process.name() == "postgres" and (process.cwd() == directory)
    except (psutil.Error, OSError):
        return False
