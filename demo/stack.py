"""`mlflow-ext up` as the demo starts it: in a directory of its own, with the demo's policy."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # MLflow's runners of evaluation jobs for language models: seven processes that a model of flights does not need
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
MODEL = "flights"
RUN_OPTIONS = ("--env-manager", "local", "--experiment-name", MODEL)


class DemoError(Exception):
    """The demo cannot go on; the message says why and where to look."""


@dataclass(frozen=True)
class Stack:
    """The running platform.

    Attributes:
        process: `mlflow-ext up`.
        directory: Working directory: configuration, data and logs.
        mlflow_url: MLflow's server.
        serving_url: The promotion service.
        database_url: PostgreSQL.
        ready_s: Seconds from the command to readiness.
    """

    process: subprocess.Popen[bytes]
    directory: Path
    mlflow_url: str
    serving_url: str
    database_url: str
    ready_s: float

    @property
    def environ(self) -> dict[str, str]:
        """Environment of a user who works with this platform."""
        return {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "MLFLOW_EXT_DATA_DIR": str(self.directory / "data"),
            **QUIET,
        }

    @cached_property
    def token(self) -> str | None:
        """A token to score with and to send outcomes; `None` where the promotion service asks for none."""
        if httpx.get(f"{self.serving_url}/models", timeout=30).status_code != httpx.codes.UNAUTHORIZED:
            return None
        return self.command("token", "create", "--right", "score", "--right", "feedback", "--quiet").strip()

    def command(self, *arguments: str) -> str:
        """Run `mlflow-ext ARGUMENTS` in the platform's directory and give what it prints."""
        return self._run([str(BIN / "mlflow-ext"), *arguments])

    def project(self, entry_point: str, **parameters: object) -> None:
        """`mlflow run` the worked example from git."""
        given = [part for key, value in parameters.items() for part in ("-P", f"{key}={value}")]
        self._run([str(BIN / "mlflow"), "run", project_uri(), "-e", entry_point, *RUN_OPTIONS, *given])

    def _run(self, command: list[str]) -> str:
        result = subprocess.run(
            command, cwd=self.directory, env=self.environ, capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            tail = "\n".join((result.stderr or result.stdout).strip().splitlines()[-15:])
            raise DemoError(f"{' '.join(command[:4])} … failed with exit code {result.returncode}:\n{tail}")
        return result.stdout

    def stop(self) -> None:
        """Stop the platform as Ctrl-C would."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)


def project_uri() -> str:
    """Say where the worked example is: this clone, as a git URL, so that runs carry its commit."""
    if not (ROOT / ".git").exists():
        raise DemoError(f"{ROOT} is not a git clone; `mlflow run` from git needs one")
    return f"file://{ROOT}#projects/{MODEL}"


def start(directory: Path, mlflow_port: int, serving_port: int) -> Stack:
    """Start the platform on empty data and wait until it is ready.

    Raises:
        DemoError: It did not come up; the message carries the end of its output.
    """
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    (directory / "mlflow-ext.yaml").write_text(yaml.safe_dump(policy()), encoding="utf-8")
    began = time.monotonic()
    output = directory / "up.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [
                *(str(BIN / "mlflow-ext"), "up", "--data-dir", str(directory / "data")),
                *("--mlflow-port", str(free_or_any(mlflow_port)), "--serving-port", str(free_or_any(serving_port))),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            start_new_session=True,
            env={**os.environ, **QUIET},
        )
    state = _wait(process, directory, output)
    return Stack(
        process=process,
        directory=directory,
        mlflow_url=state["mlflow_url"],
        serving_url=state["serving_url"],
        database_url=state["database_url"],
        ready_s=time.monotonic() - began,
    )


def _wait(process: subprocess.Popen[bytes], directory: Path, output: Path) -> dict[str, Any]:
    end = time.monotonic() + 300
    state = directory / "data" / "state.json"
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError, ValueError, httpx.TransportError):
            found: dict[str, Any] = json.loads(state.read_text(encoding="utf-8"))
            if httpx.get(f"{found['serving_url']}/readyz", timeout=2).status_code == 200:
                return found
        time.sleep(0.2)
    with suppress(ProcessLookupError):
        process.terminate()
    raise DemoError(f"the platform did not start; the end of {output}:\n{output.read_text()[-3000:]}")


def free_or_any(port: int) -> int:
    """Keep the port when nobody listens on it, else let the platform pick one."""
    with socket.socket() as probe:
        return 0 if probe.connect_ex(("127.0.0.1", port)) == 0 else port


def policy() -> dict[str, Any]:
    """Give the demo's configuration: the repository's own policy, with retraining from git."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "mlflow-ext.yaml").read_text(encoding="utf-8"))
    document["models"] = {MODEL: document["models"][MODEL]}
    document["models"][MODEL]["retraining"]["project"] = project_uri()
    return {"default_model": MODEL, **document}
