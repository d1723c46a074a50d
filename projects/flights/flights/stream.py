"""Entry point `score`: lives through the rest of the year, asking the promotion service about each flight in its order.

The outcomes follow as feedback one request later, as they do in life. What is done with them is the platform's part.
"""

import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import quantiles
from time import perf_counter
from typing import Any

import click
import pandas as pd
import requests
from sklearn.metrics import roc_auc_score

from . import data

TIMEOUT_S = 30


@dataclass
class MonthScored:
    """What became of one month of flights.

    Attributes:
        month: 1 to 12.
        rows: Flights that were answered.
        requests: Scoring requests sent.
        failed: Scoring requests without a proper answer.
        feedback: Outcomes that the service accepted.
        feedback_failed: Outcomes that it did not.
        late_share: Share of the answered flights that arrived late.
        roc_auc: Of the answers against the outcomes; None when it is not defined.
        versions: Requests answered by each model version.
        latency_p50_ms: Median time of a scoring request.
        latency_p99_ms: Its 99th percentile.
    """

    month: int
    rows: int = 0
    requests: int = 0
    failed: int = 0
    feedback: int = 0
    feedback_failed: int = 0
    late_share: float = 0.0
    roc_auc: float | None = None
    versions: dict[str, int] = field(default_factory=dict)
    latency_p50_ms: float = 0.0
    latency_p99_ms: float = 0.0


@dataclass(frozen=True)
class Service:
    """The promotion service as its clients see it: one model, scored and told about outcomes."""

    url: str
    model: str
    session: requests.Session

    def score(self, rows: pd.DataFrame, request_id: str) -> tuple[list[float], str]:
        """Ask for the probabilities of being late.

        Returns:
            One probability for each row, and the version that answered.

        Raises:
            requests.RequestException: No answer, or one that is no success.
        """
        answer = self.session.post(
            f"{self.url}/models/{self.model}/invocations",
            json={"dataframe_split": as_split(rows)},
            headers={"X-Request-Id": request_id},
            timeout=TIMEOUT_S,
        )
        answer.raise_for_status()
        probabilities = [row[-1] for row in answer.json()["predictions"]]
        return probabilities, answer.headers.get("X-Model-Version", "unknown")

    def tell(self, outcomes: list[int], request_id: str) -> None:
        """Send what really happened to the rows of an earlier request.

        Raises:
            requests.RequestException: No answer, or one that is no success.
        """
        feedback: list[dict[str, Any]] = [
            {"request_id": request_id, "row": row, "value": value} for row, value in enumerate(outcomes)
        ]
        self.session.post(
            f"{self.url}/models/{self.model}/feedback", json={"feedback": feedback}, timeout=TIMEOUT_S
        ).raise_for_status()


def as_split(rows: pd.DataFrame) -> dict[str, Any]:
    """Write rows as MLflow's `dataframe_split`, with null for what is missing."""
    values = rows.astype(object).where(rows.notna(), None)
    return {"columns": list(rows.columns), "data": values.to_numpy().tolist()}


def score_month(service: Service, flights: pd.DataFrame, month: int, *, batch_rows: int, feedback: bool) -> MonthScored:
    """Send one month's flights in their order and, one request later, their outcomes.

    Args:
        service: Where to.
        flights: As `data.load` gives them, of this month alone.
        month: Its number.
        batch_rows: Flights in one request.
        feedback: Whether outcomes are sent.
    """
    summary = MonthScored(month)
    versions: Counter[str] = Counter()
    latencies, answers, outcomes = [], [], []
    waiting: list[tuple[list[int], str]] = []
    tag = secrets.token_hex(4)
    for start in range(0, len(flights), batch_rows):
        batch = flights.iloc[start : start + batch_rows]
        request_id = f"flights-{tag}-{month:02d}-{start // batch_rows:05d}"
        summary.requests += 1
        began = perf_counter()
        try:
            probabilities, version = service.score(batch[data.FEATURES], request_id)
        except requests.RequestException as exc:
            summary.failed += 1
            click.echo(f"request {request_id} failed: {exc}", err=True)
            continue
        latencies.append((perf_counter() - began) * 1000)
        versions[version] += 1
        happened = batch[data.TARGET].tolist()
        answers += probabilities
        outcomes += happened
        if feedback:
            _tell(service, waiting, summary)
            waiting = [(happened, request_id)]
    _tell(service, waiting, summary)
    summary.rows = len(answers)
    summary.versions = dict(versions)
    if answers:
        summary.late_share = round(sum(outcomes) / len(outcomes), 4)
        summary.roc_auc = round(float(roc_auc_score(outcomes, answers)), 4) if len(set(outcomes)) == 2 else None
        percentiles = quantiles([*latencies, latencies[-1]], n=100, method="inclusive")
        summary.latency_p50_ms, summary.latency_p99_ms = round(percentiles[49], 2), round(percentiles[98], 2)
    return summary


def stream(
    url: str,
    model: str,
    *,
    first_month: int = 3,
    last_month: int = 12,
    rows_per_month: int = 0,
    batch_rows: int = 200,
    feedback: bool = True,
    seed: int = 0,
    token: str | None = None,
) -> Iterator[MonthScored]:
    """Score month after month, giving each month's summary as soon as it is over.

    Args:
        url: Address of the promotion service.
        model: Registered model to ask.
        first_month: First month, 1 to 12.
        last_month: Last month, included.
        rows_per_month: Flights drawn from each month at most, spread over it; 0 takes all of them.
        batch_rows: Flights in one request.
        feedback: Whether outcomes are sent.
        seed: For drawing flights.
        token: Shown to the service, where it asks for one.
    """
    flights = data.load()
    with requests.Session() as session:
        if token is not None:
            session.headers["Authorization"] = f"Bearer {token}"
        service = Service(url.rstrip("/"), model, session)
        for month in range(first_month, last_month + 1):
            chosen = data.sample(flights[flights["date"].dt.month == month], rows_per_month, seed)
            yield score_month(service, chosen, month, batch_rows=batch_rows, feedback=feedback)


def _tell(service: Service, waiting: list[tuple[list[int], str]], summary: MonthScored) -> None:
    for outcomes, request_id in waiting:
        try:
            service.tell(outcomes, request_id)
        except requests.RequestException as exc:
            summary.feedback_failed += len(outcomes)
            click.echo(f"feedback for {request_id} failed: {exc}", err=True)
        else:
            summary.feedback += len(outcomes)


@click.command(help="Score flights in their order and send their outcomes back; one JSON line for each month.")
@click.option("--url", default="http://127.0.0.1:8000", help="Address of the promotion service.")
@click.option("--model-name", default="flights", help="Registered model to ask.")
@click.option("--first-month", type=click.IntRange(1, 12), default=3)
@click.option("--last-month", type=click.IntRange(1, 12), default=12)
@click.option("--rows-per-month", type=click.IntRange(0), default=0, help="Drawn from each month at most; 0 takes all.")
@click.option("--batch-rows", type=click.IntRange(1), default=200, help="Flights in one request.")
@click.option("--feedback/--no-feedback", default=True, help="Whether outcomes are sent.")
@click.option("--seed", type=int, default=0, help="For drawing flights.")
def main(
    url: str,
    model_name: str,
    first_month: int,
    last_month: int,
    rows_per_month: int,
    batch_rows: int,
    feedback: bool,
    seed: int,
) -> None:
    """Print a summary of each month; end with 1 when a request was lost."""
    lost = 0
    for month in stream(
        url,
        model_name,
        first_month=first_month,
        last_month=last_month,
        rows_per_month=rows_per_month,
        batch_rows=batch_rows,
        feedback=feedback,
        seed=seed,
        token=os.environ.get("MLFLOW_EXT_TOKEN"),
    ):
        click.echo(json.dumps(asdict(month)))
        lost += month.failed
    raise SystemExit(1 if lost else 0)


if __name__ == "__main__":
    main()
