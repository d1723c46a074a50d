"""The drift scheduler's Prometheus metrics: name, meaning and unit of each, read from PostgreSQL when asked for.

Every scheduler gives the same numbers. Alerting rules for them: `deploy/prometheus/rules.yaml`.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.alerts import Alerts
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.schedules import Schedules
from mlflow_ext.store.segments import Segments

_PREFIX = "mlflow_ext_"


class DriftMetrics(Collector):
    """Reads the tables; `mlflow_ext_drift_up` is 0 while PostgreSQL does not answer."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Say nothing beforehand: registering must not ask the database."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give all metrics."""
        try:
            yield from [*self._alerts(), *self._checks(), *self._schedules(), *self._segments()]
        except UnavailableError:
            yield _gauge("drift_up", "Whether PostgreSQL answers the drift scheduler.", [], [((), 0.0)])
            return
        yield _gauge("drift_up", "Whether PostgreSQL answers the drift scheduler.", [], [((), 1.0)])

    def _alerts(self) -> Iterator[GaugeMetricFamily]:
        alerts = Alerts(self._engine)
        firing = [((one.model, one.kind, one.severity), 1.0) for one in alerts.find(firing=True, limit=10_000)]
        yield _gauge("alert_firing", "Alerts that go on.", ["model", "kind", "severity"], firing)
        waiting = [((channel,), float(count)) for channel, count in alerts.waiting().items()]
        yield _gauge("alert_messages_waiting", "Messages that a channel has not taken yet.", ["channel"], waiting)

    def _checks(self) -> Iterator[GaugeMetricFamily]:
        newest = Checks(self._engine).newest()
        found = [(one, one.report) for one in newest if one.report is not None]
        verdicts = [((one.model, report.verdict.value), 1.0) for one, report in found]
        yield _gauge("drift_verdict", "Verdict of the newest window; always 1.", ["model", "verdict"], verdicts)
        shares = [((one.model,), report.drift_share) for one, report in found if report.drift_share is not None]
        yield _gauge("drift_share", "Share of its input columns that drifted, 0 to 1.", ["model"], shares)
        ends = [((one.model,), one.window.until.timestamp()) for one, _ in found]
        yield _gauge("drift_window_end_timestamp_seconds", "End of the newest checked window.", ["model"], ends)

    def _schedules(self) -> Iterator[GaugeMetricFamily]:
        schedules = Schedules(self._engine).find()
        paused = [((one.model,), float(one.paused)) for one in schedules]
        yield _gauge("drift_schedule_paused", "Whether somebody paused the schedule.", ["model"], paused)
        following = [((one.model,), one.next_run.timestamp()) for one in schedules]
        yield _gauge("drift_schedule_next_timestamp_seconds", "Next slot; past while it is due.", ["model"], following)

    def _segments(self) -> Iterator[GaugeMetricFamily]:
        stored = Segments(self._engine).stored()
        rows = [((model,), float(sum(one.rows for one in segments))) for model, segments in stored.items()]
        yield _gauge("segment_rows", "Logged predictions in segments.", ["model"], rows)
        size = [((model,), float(sum(one.size_bytes for one in segments))) for model, segments in stored.items()]
        yield _gauge("segment_bytes", "Size of the segments.", ["model"], size)


def serve(engine: Engine, host: str, port: int) -> tuple[int, Callable[[], None]]:
    """Answer Prometheus at `/metrics`.

    Returns:
        The port, and what ends it.

    Raises:
        OSError: The port is taken.
    """
    registry = CollectorRegistry()
    registry.register(DriftMetrics(engine))
    server: WSGIServer
    thread: threading.Thread
    server, thread = start_http_server(port, host, registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, stop


def _gauge(
    name: str, meaning: str, labels: list[str], values: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(_PREFIX + name, meaning, labels=labels)
    for key, value in values:
        family.add_metric(list(key), value)
    return family
