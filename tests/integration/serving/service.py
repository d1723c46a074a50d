"""A real promotion service for tests: `mlflow-ext serve` as a process, with what tests ask of it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from mlflow_ext.spool import PredictionRecord, read_spool, spool_files
from tests.conftest import answers, free_port, wait_until
from tests.integration.registered import BODY


@dataclass(frozen=True, slots=True)
class Service:
    """A running service.

    Attributes:
        url: Its address.
        process: Its parent process.
        data_dir: Its data directory.
    """

    url: str
    process: "subprocess.Popen[bytes]"
    data_dir: Path

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self.data_dir / "serve.log").read_text()

    def score(self, model: str, body: Any = BODY, **how: Any) -> httpx.Response:
        """Score once."""
        return httpx.post(f"{self.url}/models/{model}/invocations", json=body, timeout=30, **how)

    def served(self, model: str) -> int | None:
        """Give the version that answers now, by asking it."""
        answer = self.score(model)
        return int(answer.headers["x-model-version"]) if answer.status_code == 200 else None

    def model(self, name: str) -> dict[str, Any]:
        """Give the service's account of a model."""
        found: dict[str, Any] = httpx.get(f"{self.url}/models/{name}", timeout=10).json()
        return found

    def wait_served(self, model: str, version: int, timeout_s: float = 90) -> None:
        """Wait until a version answers."""
        wait_until(lambda: self.served(model) == version, timeout_s, lambda: self.log)

    def scoring_pids(self) -> list[int]:
        """Give the scoring processes."""
        return [one.pid for one in self._children("serving.process")]

    def hosts_pids(self) -> list[int]:
        """Give the process that model hosts are forked from."""
        return [one.pid for one in self._children("serving.host.process")]

    def host_pids(self) -> list[int]:
        """Give the model hosts."""
        found = []
        for forking in self._children("serving.host.process"):
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [one.pid for one in forking.children() if one.status() != psutil.STATUS_ZOMBIE]
        return found

    def _children(self, module: str) -> list[psutil.Process]:
        found = []
        for child in psutil.Process(self.process.pid).children():
            # one that was killed stays in the list until its parent has noticed
            with contextlib.suppress(psutil.NoSuchProcess):
                if module in child.cmdline():
                    found.append(child)
        return found

    def records(self) -> list[PredictionRecord]:
        """Give everything in the prediction log."""
        return [record for path in spool_files(self.data_dir / "spool") for record, _ in read_spool(path)]


@contextlib.contextmanager
def service(
    database_url: str, mlflow_url: str, data_dir: Path, *arguments: str, ready: bool = True, **settings: str
) -> Iterator[Service]:
    """Run a service until the end of the block."""
    data_dir.mkdir(parents=True, exist_ok=True)
    port = free_port()
    ours = {
        "DATABASE_URL": database_url,
        "MLFLOW_URL": mlflow_url,
        "DATA_DIR": str(data_dir),
        "SERVING_DRAIN_S": "0",
        **{key.upper(): value for key, value in settings.items()},
    }
    with (data_dir / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "mlflow_ext.cli", "serve", "--role", "scoring"),
                *("--port", str(port), *arguments),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=data_dir,
            env={**os.environ, **{f"MLFLOW_EXT_{key}": value for key, value in ours.items()}},
        )
    found = Service(f"http://127.0.0.1:{port}", process, data_dir)
    try:
        if ready:
            wait_until(lambda: answers(f"{found.url}/readyz") or process.poll() is not None, 150, lambda: found.log)
        yield found
    finally:
        stop(found)


def stop(service: Service, timeout_s: float = 20) -> int:
    """Ask a service to stop; kill what is left."""
    process = service.process
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [*psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        finally:
            for left in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()
            process.kill()
    process.wait()
    return process.returncode


def until(seconds: float) -> Iterator[float]:
    """Give elapsed seconds until a time is up."""
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < seconds:
        yield elapsed
