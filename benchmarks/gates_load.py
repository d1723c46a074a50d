"""Do clients feel it when gates are computed? Latencies of scoring in turns with and without a running evaluation.

Starts a whole platform with `mlflow-ext up`, scores at a steady rate, and lets dry-run promotions judge a candidate in
every other turn. Whoever waits for a promotion asks the service how far it is, and asks as often in the other turns, of
one that has ended. Both kinds of turns see the same machine, so their ratio means something where it is busy, too.
"""

import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.findings import command_line, keep, load_after, machine
from benchmarks.servers import platform_running, set_stage
from benchmarks.steady import Client, Turn, ask_from_elsewhere, beside_in, figures, score, split_body, table

MODEL = "gates-load"
ROWS, COLUMNS = 20_000, 20
REQUIRED = 1.1
_LOOK_S = 0.2
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


class Judging:
    """Dry runs of the candidate's gates, one after the other for as long as they are wanted."""

    def __init__(self, serving_url: str, headers: Mapping[str, str]) -> None:
        """Take the service and what each request carries."""
        self._client = httpx.Client(base_url=serving_url, headers=dict(headers), timeout=60)
        self.ended: list[str] = []
        self._number = 0

    @contextmanager
    def running(self, *, wanted: bool) -> Iterator[None]:
        """Keep an evaluation running while the block runs; waits until the first has begun, and the last has ended.

        Where none is wanted, only ask for the last one.
        """
        stop = threading.Event()
        number = self._begin() if wanted else self._number
        thread = threading.Thread(target=self._again if wanted else self._look, args=(number, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def once(self) -> None:
        """Have the candidate judged."""
        self._until_ended(self._begin())

    def _begin(self) -> int:
        answer = self._client.post("/promotions", json={"model": MODEL, "version": 2, "dry_run": True})
        answer.raise_for_status()
        self._number = int(answer.json()["id"])
        while self._state(self._number) == "requested":
            time.sleep(_LOOK_S)
        return self._number

    def _again(self, number: int, stop: threading.Event) -> None:
        while True:
            self._until_ended(number)
            if stop.is_set():
                return
            number = self._begin()

    def _until_ended(self, number: int) -> None:
        while (state := self._state(number)) in ("requested", "evaluating"):
            time.sleep(_LOOK_S)
        self.ended.append(state)

    def _look(self, number: int, stop: threading.Event) -> None:
        while not stop.wait(_LOOK_S):
            self._state(number)

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


def measure(urls: Mapping[str, str], turns: int, rate: float, seconds: float) -> tuple[list[Turn], int, str]:
    """Take turns without and with gates; gives them, how many evaluations ended, and how was asked."""
    body = split_body(register(urls["mlflow_url"]))
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {urls['token']}"}
    set_stage(urls["mlflow_url"], MODEL, 1)
    invocations = f"{urls['serving_url']}/models/{MODEL}/invocations"
    while httpx.post(invocations, content=body, headers=headers, timeout=60).status_code in {401, 404, 503}:
        time.sleep(0.1)
    client = Client(urls["serving_url"], f"/models/{MODEL}/invocations", headers, body)
    score(client, rate, 2)
    judging = Judging(urls["serving_url"], headers)
    judging.once()
    how = ask_from_elsewhere()
    found = []
    for number in range(2 * turns):
        with judging.running(wanted=beside_in(number)):
            found.append(Turn(beside_in(number), *score(client, rate, seconds)))
    client.close()
    if set(judging.ended) != {"evaluated"}:
        raise SystemExit(f"the gates were not computed: {sorted(set(judging.ended))}")
    return found, len(judging.ended), how


def report(found: Mapping[str, float], how: str) -> str:
    """Write the table."""
    return f"""# Scoring while gates are computed

{how}.
{found["evaluations"]:.0f} evaluations of {ROWS:,} rows and {COLUMNS} columns; {found["requests"]:,.0f} requests,
{found["lost"]:.0f} lost.

{table(found, "gates are computed", REQUIRED)}"""


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the table."""
    parser = command_line("gates-load", __doc__)
    parser.add_argument("--turns", type=int, default=10, help="of each kind")
    parser.add_argument("--seconds", type=float, default=15, help="a turn takes")
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    given = parser.parse_args(words)
    if given.turns < 2:
        parser.error("--turns: an interval needs two of each kind at least")
    # the platform that was started is stopped whatever ends this program
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    before = machine()
    with tempfile.TemporaryDirectory(prefix="gates-load-") as directory:
        policy = Path(directory, "mlflow-ext.yaml")
        policy.write_text(POLICY)
        environment = {"MLFLOW_EXT_CONFIG": str(policy)}
        with platform_running(None, ("score", "read", "promote"), environment) as urls:
            turns, evaluations, asked = measure(urls, given.turns, given.rate, given.seconds)
    after = load_after()
    how = f"{given.turns} turns of each kind, {given.seconds:g} s each, {given.rate:g} requests/s, {asked}"
    how += f" ({before}, {after})"
    found = {**figures(turns), "evaluations": evaluations}
    keep(given.into, "gates_load", report(found, how), {"how": how, **found})


if __name__ == "__main__":
    main()
