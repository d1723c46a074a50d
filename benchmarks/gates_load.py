"""Do clients feel it when gates are computed? Latencies of scoring in turns with and without a running evaluation.

Starts a whole platform with `mlflow-ext up`, scores at a steady rate, and lets dry-run promotions judge a candidate in
every other turn. Both kinds of turns see the same machine, so their ratio means something where it is busy, too.
"""

import http.client
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.findings import command_line, keep, machine
from benchmarks.flip_latency import platform_running

MODEL = "gates-load"
ROWS, COLUMNS = 20_000, 20
REQUIRED = 1.1
POLICY = f"""
models:
  {MODEL}:
    evaluation: {{data: "artifact:data/evaluation.parquet", target: target, model_type: classifier}}
    gates:
      - {{metric: roc_auc, threshold: 0.5}}
      - {{gate: better_than_champion, ask: non_inferior, margin: 0.05}}
      - {{gate: calibration, max_brier: 0.5}}
      - {{gate: robustness, max_noise_loss: 1.0, importance: advisory}}
      - {{gate: signature}}
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """What clients saw in one turn.

    Attributes:
        gates: Whether gates were being computed.
        took_ms: Latency of each request, from when it was due.
        lost: Requests that were not answered with 200.
    """

    gates: bool
    took_ms: list[float]
    lost: int

    def percentile(self, percent: int) -> float:
        """Give a percentile of the latency in milliseconds."""
        return statistics.quantiles(self.took_ms, n=100)[percent - 1]


class Judging:
    """Dry runs of the candidate's gates, one after the other for as long as they are wanted."""

    def __init__(self, serving_url: str, headers: Mapping[str, str]) -> None:
        """Take the service and what each request carries."""
        self._client = httpx.Client(base_url=serving_url, headers=dict(headers), timeout=60)
        self.ended: list[str] = []

    @contextmanager
    def running(self, *, wanted: bool) -> Iterator[None]:
        """Keep an evaluation running while the block runs; waits until the first has begun, and the last has ended."""
        if not wanted:
            yield
            return
        stop = threading.Event()
        number = self._begin()
        thread = threading.Thread(target=self._again, args=(number, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _begin(self) -> int:
        answer = self._client.post("/promotions", json={"model": MODEL, "version": 2, "dry_run": True})
        answer.raise_for_status()
        number = int(answer.json()["id"])
        while self._state(number) == "requested":
            time.sleep(0.2)
        return number

    def _again(self, number: int, stop: threading.Event) -> None:
        while True:
            while (state := self._state(number)) in ("requested", "evaluating"):
                time.sleep(0.2)
            self.ended.append(state)
            if stop.is_set():
                return
            number = self._begin()

    def _state(self, number: int) -> str:
        return str(self._client.get(f"/promotions/{number}").json()["state"])


def register(mlflow_url: str) -> dict[str, float]:
    """Register two versions with evaluation rows; gives a row to be scored."""
    import logging

    import mlflow
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(mlflow_url)
    rows, target = make_classification(ROWS, COLUMNS, n_informative=8, random_state=0)
    import pandas as pd

    frame = pd.DataFrame(rows, columns=[f"x{number}" for number in range(COLUMNS)])
    with tempfile.TemporaryDirectory(prefix="gates-load-") as scratch:
        file = Path(scratch, "evaluation.parquet")
        frame.assign(target=target).to_parquet(file)
        for strength in (0.01, 1.0):
            with mlflow.start_run():
                mlflow.log_artifact(str(file), "data")
                mlflow.sklearn.log_model(
                    LogisticRegression(C=strength).fit(frame, target),
                    name="model",
                    input_example=frame.head(2),
                    registered_model_name=MODEL,
                    pip_requirements=[],
                )
    return {str(name): float(value) for name, value in frame.iloc[0].items()}


def score(url: str, headers: Mapping[str, str], body: str, rate: float, seconds: float) -> tuple[list[float], int]:
    """Send requests at a steady rate over one connection; latencies (ms) count from when each was due."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    took: list[float] = []
    lost = 0
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (early := due - time.perf_counter()) > 0:
            time.sleep(early)
        try:
            connection.request("POST", f"/models/{MODEL}/invocations", body, dict(headers))
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            lost += 1
            connection.close()
            continue
        took.append((time.perf_counter() - due) * 1000)
        lost += answer.status != http.client.OK
    connection.close()
    return took, lost


def measure(urls: Mapping[str, str], turns: int, rate: float, seconds: float) -> tuple[list[Turn], int]:
    """Take turns without and with gates; gives them, and how many evaluations ended."""
    row = register(urls["mlflow_url"])
    body = json.dumps({"dataframe_split": {"columns": list(row), "data": [list(row.values())]}})
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {urls['token']}"}
    with httpx.Client(base_url=urls["mlflow_url"], timeout=60) as registry:
        registry.post(
            "/ajax-api/2.0/mlflow/model-versions/transition-stage",
            json={"name": MODEL, "version": "1", "stage": "Production", "archive_existing_versions": True},
        ).raise_for_status()
    invocations = f"{urls['serving_url']}/models/{MODEL}/invocations"
    while httpx.post(invocations, content=body, headers=headers, timeout=60).status_code in {401, 404, 503}:
        time.sleep(0.1)
    score(urls["serving_url"], headers, body, rate, 2)
    judging = Judging(urls["serving_url"], headers)
    found = []
    for number in range(2 * turns):
        # in the order ABBA: what changes slowly falls on both alike
        gates = number % 4 in (1, 2)
        with judging.running(wanted=gates):
            found.append(Turn(gates, *score(urls["serving_url"], headers, body, rate, seconds)))
    if set(judging.ended) != {"evaluated"}:
        raise SystemExit(f"the gates were not computed: {sorted(set(judging.ended))}")
    return found, len(judging.ended)


def figures(turns: Sequence[Turn], evaluations: int) -> dict[str, float]:
    """Compare both kinds of turns by the medians of their percentiles."""
    found: dict[str, float] = {}
    for percent in (50, 99):
        quiet, judged = ([one.percentile(percent) for one in turns if one.gates is gates] for gates in (False, True))
        found |= {f"quiet_p{percent}_ms": statistics.median(quiet), f"gates_p{percent}_ms": statistics.median(judged)}
        found[f"p{percent}_ratio"] = statistics.median(judged) / statistics.median(quiet)
        found[f"p{percent}_ratio_low"], found[f"p{percent}_ratio_high"] = interval(quiet, judged)
        found |= {f"quiet_p{percent}_min_ms": min(quiet), f"quiet_p{percent}_max_ms": max(quiet)}
        found |= {f"gates_p{percent}_min_ms": min(judged), f"gates_p{percent}_max_ms": max(judged)}
    requests = sum(len(one.took_ms) for one in turns)
    return found | {"requests": requests, "lost": sum(one.lost for one in turns), "evaluations": evaluations}


def interval(quiet: Sequence[float], judged: Sequence[float]) -> tuple[float, float]:
    """Give a 95 % interval of the ratio of medians, by drawing turns again (percentile bootstrap)."""
    import numpy as np
    from scipy.stats import bootstrap

    def ratio(above: Any, below: Any, axis: int) -> Any:
        return np.median(above, axis) / np.median(below, axis)

    found = bootstrap((judged, quiet), ratio, n_resamples=4_000, method="percentile", rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def verdict(low: float, high: float) -> str:
    """Say whether the requirement is met, as far as the turns can tell."""
    if high <= REQUIRED:
        return "it is met"
    return "it is not met" if low > REQUIRED else "these turns cannot tell"


def report(found: Mapping[str, float], how: str) -> str:
    """Write the table."""
    rows = "\n".join(
        f"| p{percent} | {found[f'quiet_p{percent}_ms']:.2f} ({found[f'quiet_p{percent}_min_ms']:.2f} to "
        f"{found[f'quiet_p{percent}_max_ms']:.2f}) | {found[f'gates_p{percent}_ms']:.2f} "
        f"({found[f'gates_p{percent}_min_ms']:.2f} to {found[f'gates_p{percent}_max_ms']:.2f}) | "
        f"{found[f'p{percent}_ratio']:.2f} ({found[f'p{percent}_ratio_low']:.2f} to "
        f"{found[f'p{percent}_ratio_high']:.2f}) |"
        for percent in (50, 99)
    )
    return f"""# Scoring while gates are computed

{how}.
{found["evaluations"]:.0f} evaluations of {ROWS:,} rows and {COLUMNS} columns; {found["requests"]:,.0f} requests,
{found["lost"]:.0f} lost.

| latency | without gates, ms | while gates are computed, ms | ratio |
|---|---|---|---|
{rows}

Medians of the turns' percentiles (least to greatest); ratios with their 95 % intervals.
Required: p99 ratio ≤ {REQUIRED}: {verdict(found["p99_ratio_low"], found["p99_ratio_high"])}.
"""


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the table."""
    parser = command_line("gates-load", __doc__)
    parser.add_argument("--turns", type=int, default=10, help="of each kind")
    parser.add_argument("--seconds", type=float, default=15, help="a turn takes")
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    given = parser.parse_args(words)
    # the platform that was started is stopped whatever ends this program
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    before = machine()
    with tempfile.TemporaryDirectory(prefix="gates-load-") as directory:
        policy = Path(directory, "mlflow-ext.yaml")
        policy.write_text(POLICY)
        environment = {"MLFLOW_EXT_CONFIG": str(policy)}
        with platform_running(None, ("score", "read", "promote"), environment) as urls:
            turns, evaluations = measure(urls, given.turns, given.rate, given.seconds)
    load = f"load after {os.getloadavg()[0]:.1f}"
    how = f"{given.turns} turns of each kind, {given.seconds:g} s each, {given.rate:g} requests/s ({before}, {load})"
    found = figures(turns, evaluations)
    keep(given.into, "gates_load", report(found, how), {"how": how, **found})


if __name__ == "__main__":
    main()
