"""Servers that a benchmark starts and ends, and `wrk`, which asks them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

COMMAND = (sys.executable, "-P", "-m", "mlflow_ext.cli")
STARTS_WITHIN_S = 300
"""On a machine that does much else, servers take their time."""


def new_token(database_url: str) -> str:
    """Make a token for scoring."""
    command = [*COMMAND, "token", "create", "--right", "score", "--quiet"]
    environment = {**os.environ, "MLFLOW_EXT_DATABASE_URL": database_url}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


def set_stage(mlflow_url: str, name: str, version: int, stage: str = "Production") -> None:
    """Set a version's stage with the call that MLflow's UI makes; who was in Production is archived."""
    wanted = {"name": name, "version": str(version), "stage": stage, "archive_existing_versions": stage == "Production"}
    url = f"{mlflow_url}/ajax-api/2.0/mlflow/model-versions/transition-stage"
    httpx.post(url, json=wanted, timeout=60).raise_for_status()


def free_port() -> int:
    """Find a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(
    command: Sequence[str], url: str, environment: Mapping[str, str] | None = None, log: Path = Path(os.devnull)
) -> Iterator[psutil.Process]:
    """Run a server until the end of the block, and wait until it answers.

    Args:
        command: Its command line.
        url: What answers once it is ready.
        environment: Variables for it.
        log: Where its output goes.
    """
    with log.open("ab") as out:
        server = subprocess.Popen(
            command,
            # MLflow starts its server by name
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **(environment or {})},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + STARTS_WITHIN_S
        while True:
            try:
                if httpx.get(url).status_code < 500:
                    break
            except httpx.TransportError:
                pass
            if time.monotonic() > end or server.poll() is not None:
                raise SystemExit(f"{command[2:5]} did not start")
            time.sleep(0.1)
        yield psutil.Process(server.pid)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


@contextmanager
def platform_running(
    data_dir: Path | None, rights: Sequence[str] = ("score",), environment: Mapping[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """Give the addresses of a platform, and a token; without a data directory starts one, which asks for tokens."""
    if data_dir is not None:
        yield {"token": os.environ.get("MLFLOW_EXT_TOKEN", ""), **json.loads((data_dir / "state.json").read_text())}
        return
    with tempfile.TemporaryDirectory(prefix="platform-") as directory:
        own = Path(directory) / "data"
        process = subprocess.Popen(
            [*COMMAND, "up", "--data-dir", str(own), "--mlflow-port", "0", "--serving-port", "0"],
            cwd=directory,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "MLFLOW_EXT_AUTH": "token", **(environment or {})},
        )
        try:
            while not (own / "state.json").exists():
                if process.poll() is not None:
                    raise SystemExit("mlflow-ext up ended; run it by hand to see why")
                time.sleep(0.2)
            made = subprocess.run(
                [*COMMAND, "token", "create", *(word for right in rights for word in ("--right", right)), "--quiet"],
                cwd=directory,
                env={**os.environ, "MLFLOW_EXT_DATA_DIR": str(own)},
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            yield {"token": made.stdout.strip(), **json.loads((own / "state.json").read_text())}
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)


@contextmanager
def scoring_service(urls: Mapping[str, str], data_dir: Path, workers: int = 1) -> Iterator[tuple[str, psutil.Process]]:
    """Run our service, tokens on, over a platform that runs; gives its address and process.

    Args:
        urls: The platform's addresses.
        data_dir: Data directory of the service.
        workers: Its number of scoring processes.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {
        # a data directory of its own: the platform's compactor must not take part
        "MLFLOW_EXT_DATA_DIR": str(data_dir),
        "MLFLOW_EXT_DATABASE_URL": urls["database_url"],
        "MLFLOW_EXT_MLFLOW_URL": urls["mlflow_url"],
        "MLFLOW_EXT_SERVING_PORT": str(port),
        "MLFLOW_EXT_AUTH": "token",
    }
    command = [*COMMAND, "serve", "--role", "scoring", "--workers", str(workers)]
    with process(command, f"{url}/readyz", settings) as running:
        yield url, running


@contextmanager
def mlflow_models_serve(model: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run MLflow's scoring server on a model's files; gives its address and process."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--workers", "1"]
    with process([*command, "-m", str(model), "-p", str(port)], f"{url}/ping") as running:
        yield url, running


def ask(url: str, script: Path, clients: int, seconds: int) -> dict[str, float]:
    """Let `wrk` ask; gives requests per second, and median and 99th percentile of the latency in milliseconds."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", str(script), url]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in printed or "Socket errors" in printed:
        raise SystemExit(f"{url} did not answer every request:\n{printed}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    latency = {
        f"p{percent}_ms": float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]
        for percent in (50, 99)
        if (found := re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", printed))
    }
    if rate is None or len(latency) < 2:
        raise SystemExit(f"wrk said nothing of use:\n{printed}")
    return {"rps": float(rate[1]), **latency}
