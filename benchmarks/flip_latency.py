"""How long after a stage transition's answer does the new version answer, and what does a flip cost the clients?

Starts a whole platform with `mlflow-ext up` in a temporary directory (or uses the one running on `--data-dir`), flips
Production between two versions with the call that MLflow's UI makes while clients score, and prints a table.
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from benchmarks.findings import machine

MODEL = "flip-latency"
BODY = json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": [[0.0, 1.0]]}})
COMMAND = (sys.executable, "-P", "-m", "mlflow_ext.cli")
TRANSITION = "/ajax-api/2.0/mlflow/model-versions/transition-stage"


@dataclass
class Clients:
    """Clients with one connection each that score one request after the other.

    Attributes:
        url: The service.
        count: How many.
        headers: What each request carries.
        answers: By client: when an answer was there (seconds), after how many seconds, and by which version.
        failures: Everything that was no answer with status 200.
    """

    url: str
    count: int
    headers: dict[str, str]
    answers: list[list[tuple[float, float, int]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Clients":
        """Begin."""
        for number in range(self.count):
            self.answers.append([])
            self._threads.append(threading.Thread(target=self._score, args=(self.answers[number],)))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def first_by(self, version: int, since: list[int]) -> float | None:
        """Say when the first answer of a version came, looking at answers past these positions."""
        times = [
            next((at for at, _, by in answers[position:] if by == version), None)
            for answers, position in zip(self.answers, since, strict=True)
        ]
        found = [at for at in times if at is not None]
        return min(found) if found else None

    def _score(self, answers: list[tuple[float, float, int]]) -> None:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        while not self._stopped.is_set():
            began = time.perf_counter()
            try:
                connection.request("POST", f"/models/{MODEL}/invocations", BODY, self.headers)
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as exc:
                self.failures.append(repr(exc))
                connection.close()
                continue
            at = time.perf_counter()
            if answer.status == http.client.OK:
                answers.append((at, at - began, int(answer.headers["X-Model-Version"])))
            else:
                self.failures.append(f"{answer.status} {body[:200]!r}")


@contextlib.contextmanager
def platform_running(
    data_dir: Path | None, rights: Sequence[str] = ("score",), environment: Mapping[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """Give the addresses of a platform, and a token; without a data directory starts one, which asks for tokens."""
    if data_dir is not None:
        yield {"token": os.environ.get("MLFLOW_EXT_TOKEN", ""), **json.loads((data_dir / "state.json").read_text())}
        return
    with tempfile.TemporaryDirectory(prefix="flip-latency-") as directory:
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


def register(mlflow_url: str) -> None:
    """Register two versions that answer with a constant."""
    import logging

    import mlflow
    import pandas as pd
    from sklearn.dummy import DummyRegressor

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(mlflow_url)
    rows = pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 0.5]})
    for value in (1.0, 2.0):
        model = DummyRegressor(strategy="constant", constant=value).fit(rows, [0, 0])
        mlflow.sklearn.log_model(
            model, name="model", input_example=rows, registered_model_name=MODEL, pip_requirements=[]
        )


def transition(client: httpx.Client, version: int) -> None:
    """Set a version to Production as the UI does."""
    wanted = {"name": MODEL, "version": str(version), "stage": "Production", "archive_existing_versions": True}
    client.post(TRANSITION, json=wanted).raise_for_status()


def wait(clients: Clients, version: int, since: list[int]) -> float:
    """Wait for the first answer of a version; gives its time."""
    end = time.perf_counter() + 60
    while (at := clients.first_by(version, since)) is None:
        if time.perf_counter() > end:
            raise SystemExit(f"version {version} did not answer within 60 s; failures: {clients.failures[:3]}")
        time.sleep(0.001)
    return at


def measure(urls: dict[str, str], flips: int, count: int, pause_s: float) -> dict[str, float]:
    """Flip and measure; times in milliseconds."""
    register(urls["mlflow_url"])
    latencies: list[float] = []
    headers = {"Content-Type": "application/json"}
    if urls["token"]:
        headers["Authorization"] = f"Bearer {urls['token']}"
    scoring = f"{urls['serving_url']}/models/{MODEL}/invocations"
    with httpx.Client(base_url=urls["mlflow_url"], timeout=60) as registry:
        transition(registry, 1)
        # not there yet, or the token is not known yet
        while httpx.post(scoring, content=BODY, headers=headers).status_code in {401, 404, 503}:
            time.sleep(0.05)
        with Clients(urls["serving_url"], count, headers) as clients:
            began = time.perf_counter()
            # the first flip loads version 2; from then on both stay loaded, as after a time in Staging
            for flip in range(-1, flips):
                version = 2 if flip % 2 else 1
                since = [len(answers) for answers in clients.answers]
                transition(registry, version)
                returned = time.perf_counter()
                at = wait(clients, version, since)
                if flip >= 0:
                    latencies.append((at - returned) * 1000)
                time.sleep(pause_s)
            took_s = time.perf_counter() - began
    scored = [took for answers in clients.answers for _, took, _ in answers]
    backwards = sum(
        max(0, sum(1 for (_, _, a), (_, _, b) in pairwise(answers) if a != b) - flips - 1)
        for answers in clients.answers
    )
    return {
        "flips": flips,
        "clients": count,
        "flip_p50_ms": statistics.median(latencies),
        "flip_p99_ms": statistics.quantiles(latencies, n=100)[98],
        "flip_max_ms": max(latencies),
        "requests": len(scored),
        "requests_per_s": len(scored) / took_s,
        "request_p50_ms": statistics.median(scored) * 1000,
        "request_p99_ms": statistics.quantiles(scored, n=100)[98] * 1000,
        "requests_lost": len(clients.failures),
        "steps_back": backwards,
    }


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print a table."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks flips", description=__doc__)
    arguments.add_argument("--flips", type=int, default=100)
    arguments.add_argument("--clients", type=int, default=8)
    arguments.add_argument("--pause-s", type=float, default=0.1, help="between two flips")
    arguments.add_argument("--data-dir", type=Path, help="of a platform that runs already")
    arguments.add_argument("--json", type=Path, help="write the figures there as well")
    given = arguments.parse_args(words)
    # the platform that was started is stopped whatever ends this program
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    before = machine()
    with platform_running(given.data_dir) as urls:
        figures = measure(urls, given.flips, given.clients, given.pause_s)
    print(f"From the transition's answer to the first answer of the new version ({before})\n")
    for name, value in figures.items():
        print(f"| {name:<16} | {value:>10.{0 if float(value).is_integer() else 2}f} |")
    if given.json is not None:
        given.json.write_text(json.dumps({"machine": before, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
