"""How far the reading of the prediction log is behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlflow_ext.errors import UnavailableError
from mlflow_ext.spool import PredictionRecord, SpoolWriter, read_spool, spool_files
from serving.log_lag import LogLag
from serving.metrics import Metrics

AT = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class Index:
    """What PostgreSQL says."""

    offsets: dict[str, int] = field(default_factory=dict)
    is_away: bool = False

    def __call__(self, spools: Sequence[str]) -> Mapping[str, int]:
        """Say how far each file has been taken in."""
        if self.is_away:
            raise UnavailableError("PostgreSQL does not answer")
        return {name: self.offsets[name] for name in spools if name in self.offsets}


def write(directory: Path, *seconds: int) -> None:
    """Write a spool file with predictions of so many seconds after the beginning."""
    writer = SpoolWriter(directory)
    for second in seconds:
        at = AT + timedelta(seconds=second)
        writer.append(PredictionRecord(f"r{second}", "m", 1, at, 1, "application/json", b"{}", b"{}"))
    writer.close()


@pytest.fixture
def index() -> Index:
    """An index that has taken in nothing."""
    return Index()


def lag(directory: Path, index: Index, seconds: int) -> tuple[LogLag, Metrics]:
    """Make what measures, at so many seconds after the beginning."""
    metrics = Metrics()
    return LogLag(directory, index, metrics.spool_lag, clock=lambda: AT.timestamp() + seconds), metrics


def measured(lag: LogLag, metrics: Metrics) -> float | None:
    """Measure, and give the metric."""
    lag.measure()
    return metrics.registry.get_sample_value("mlflow_ext_spool_lag_seconds")


def test_it_is_the_age_of_the_oldest_that_is_not_taken_in(tmp_path: Path, index: Index) -> None:
    """Whichever file holds it; nothing to take in is no lag, and neither is a file that is gone."""
    measure = lag(tmp_path, index, 100)
    assert measured(*measure) == 0
    write(tmp_path, 10, 20, 30)
    write(tmp_path, 15, 40)
    assert measured(*measure) == 90
    first, second = spool_files(tmp_path)
    ends = [end for _, end in read_spool(first)]
    index.offsets[first.name] = ends[0]
    assert measured(*measure) == 85
    index.offsets[second.name] = [end for _, end in read_spool(second)][1]
    assert measured(*measure) == 80
    index.offsets[first.name] = ends[2]
    assert measured(*measure) == 0
    for path in (first, second):
        path.unlink()
    assert measured(*measure) == 0


def test_without_postgresql_the_last_word_counts(tmp_path: Path, index: Index) -> None:
    """What was taken in stays taken in, and what comes waits; before a first word nothing is known."""
    write(tmp_path, 10, 20)
    index.is_away = True
    measure = lag(tmp_path, index, 100)
    assert measured(*measure) == 0
    index.is_away = False
    [path] = spool_files(tmp_path)
    index.offsets[path.name] = next(end for _, end in read_spool(path))
    assert measured(*measure) == 80
    index.is_away = True
    write(tmp_path, 50)
    assert measured(*measure) == 80
