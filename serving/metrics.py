"""The scoring service's Prometheus metrics: name, meaning and unit of each. Who counts what lives with who does it.

With several processes the files under `PROMETHEUS_MULTIPROC_DIR` (set by `command.py` before they start) are added up,
so every process gives the same numbers.
"""

import os
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST
_Mode = Literal["livesum", "livemostrecent"]
_PREFIX = "mlflow_ext_"
_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 16_384, 131_072)
_LOAD_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics. The label `model` is a registered model's name, or empty for a name that is none."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    requests: Counter = field(init=False)
    latency: Histogram = field(init=False)
    batch_rows: Histogram = field(init=False)
    in_progress: Gauge = field(init=False)
    pending: Gauge = field(init=False)
    errors: Counter = field(init=False)
    refused: Counter = field(init=False)
    loads: Counter = field(init=False)
    load_time: Histogram = field(init=False)
    host_deaths: Counter = field(init=False)
    swaps: Counter = field(init=False)
    serving: Gauge = field(init=False)
    spool_records: Counter = field(init=False)
    spool_lost: Counter = field(init=False)
    turned_away: Counter = field(init=False)
    spool_passed_over: Counter = field(init=False)
    spool_bytes: Gauge = field(init=False)
    spool_lag: Gauge = field(init=False)

    def __post_init__(self) -> None:
        """Make the metrics in the registry."""

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(_PREFIX + name, meaning, labels, registry=self.registry)

        def gauge(name: str, meaning: str, *labels: str, mode: _Mode = "livesum") -> Gauge:
            return Gauge(_PREFIX + name, meaning, labels, registry=self.registry, multiprocess_mode=mode)

        def histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(_PREFIX + name, meaning, labels, registry=self.registry, buckets=buckets)

        made = {
            "requests": counter("requests", "Scoring requests answered", "model", "version", "code"),
            "latency": histogram(
                "request_seconds", "From the complete request to the complete answer", _LATENCY_S, "model", "version"
            ),
            "batch_rows": histogram("batch_rows", "Rows that were computed together", _BATCH_ROWS, "model", "version"),
            "in_progress": gauge("in_progress_requests", "Scoring requests being answered", "model"),
            # as Triton's nv_inference_pending_request_count
            "pending": gauge("pending_requests", "Scoring requests that wait to be computed", "model"),
            "errors": counter("errors", "Scoring requests answered with an error, by error code", "model", "error"),
            "refused": counter("refused", "Requests refused for want of a token, right or model", "reason"),
            "loads": counter("loads", "Attempts to load a version", "model", "outcome"),
            "load_time": histogram("load_seconds", "Fetching, loading and warming a version", _LOAD_S, "model"),
            "host_deaths": counter("host_deaths", "Model hosts that ended while they were wanted", "model"),
            "swaps": counter("swaps", "Changes of the version that answers", "model"),
            "serving": gauge("version_info", "Processes that answer with this version", "model", "version"),
            "spool_records": counter("spool_records", "Predictions written to the spool", "model"),
            "turned_away": counter("turned_away_requests", "Requests that a bound ended before scoring", "reason"),
            "spool_lost": counter(
                "spool_lost_records", "Predictions that could not be written to the spool", "model", "reason"
            ),
            "spool_passed_over": counter(
                "spool_passed_over_records", "Predictions that a sampled log does not keep", "model"
            ),
            "spool_bytes": gauge(
                "spool_bytes", "Bytes in the spool, which the compactor takes away", mode="livemostrecent"
            ),
            "spool_lag": gauge(
                "spool_lag_seconds", "Age of the oldest prediction that is in no segment yet", mode="livemostrecent"
            ),
        }
        for name, metric in made.items():
            object.__setattr__(self, name, metric)

    def render(self) -> bytes:
        """Write all metrics in Prometheus' text format."""
        if MULTIPROC_DIR not in os.environ:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        multiprocess.MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """Observe several values at once, as often as the histogram would one by one.

    `Histogram.observe` takes two locked writes to the shared file for each value; a batch mostly falls into one bucket.
    """
    bounds = histogram._upper_bounds
    for place, count in Tally(bisect_left(bounds, value) for value in values).items():
        histogram._buckets[place].inc(count)
    histogram._sum.inc(sum(values))
