"""Retention on a real index: bounds by age and by size, and what windows still need."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text

from drift.compactor import Compactor
from drift.retention import retire
from drift.segment_files import read_window
from mlflow_ext.domain.drift import Window
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.store.checks import Checks
from mlflow_ext.store.tables import retraining
from tests.integration.drift.spooled import answered, compactor_in, fill

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
EVER = Window(NOW - 1000 * DAY, NOW + DAY)


def policy(**log: Any) -> ModelPolicy:
    """A policy with small windows."""
    return ModelPolicy.model_validate(
        {"prediction_log": {"feedback_wait_s": 86_400, **log}, "drift": {"window_s": 3600.0}}
    )


@pytest.fixture
def compactor(engine: Engine, tmp_path: Path) -> Compactor:
    """Ten days of one request a day, of model `m`; the newest is an hour old."""
    one = compactor_in(tmp_path, engine)
    for days in range(10):
        at = NOW - timedelta(hours=1) - days * DAY
        fill(one, answered(f"day{days}", {"x": 1}, at=at))
        one.run_once()
    return one


def left(compactor: Compactor) -> list[str]:
    """Requests that readers still see, newest first."""
    return sorted(read_window(compactor.index, "m", 1, EVER).meta["request_id"])


def test_old_predictions_go_with_their_files(compactor: Compactor, engine: Engine) -> None:
    """At once for readers; the files after the time in which somebody may be reading them."""
    assert retire(compactor.index, lambda _: policy(keep_s=3 * 86_400.0)) == 7
    assert left(compactor) == ["day0", "day1", "day2"]
    assert len(list(Path(compactor.root).rglob("*.parquet"))) == 10
    with engine.begin() as connection:
        connection.execute(text("UPDATE mlflow_ext.segment SET replaced_at = replaced_at - interval '1 hour'"))
    compactor.run_once()
    assert len(list(Path(compactor.root).rglob("*.parquet"))) == 3
    assert retire(compactor.index, lambda _: policy(keep_s=3 * 86_400.0)) == 0


def test_feedback_that_may_still_come_finds_its_predictions(compactor: Compactor) -> None:
    """Whatever room there is: what is younger than `feedback_wait_s` stays."""
    retire(compactor.index, lambda _: policy(keep_bytes=1, feedback_wait_s=4 * 86_400.0))
    assert left(compactor) == ["day0", "day1", "day2", "day3"]


def test_the_window_of_a_check_or_retraining_that_is_not_over_stays(compactor: Compactor, engine: Engine) -> None:
    """Also one asked for by hand, far back."""
    Checks(engine).request("m", window_s=1, version=None, since=NOW - 6 * DAY, until=NOW - 5 * DAY)
    retire(compactor.index, lambda _: policy(keep_bytes=1))
    assert left(compactor) == [f"day{days}" for days in range(6)]
    with engine.begin() as connection:
        connection.execute(text("UPDATE mlflow_ext.drift_check SET state = 'done'"))
        connection.execute(insert(retraining).values(model="m", cause="test", since=NOW - 3 * DAY, until=NOW))
    retire(compactor.index, lambda _: policy(keep_bytes=1))
    assert left(compactor) == ["day0", "day1", "day2"]


def test_without_bounds_everything_stays(compactor: Compactor) -> None:
    """The default."""
    assert retire(compactor.index, lambda _: ModelPolicy()) == 0
    assert len(left(compactor)) == 10
