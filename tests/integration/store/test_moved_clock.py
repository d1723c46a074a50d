"""PostgreSQL's clock is moved by a day while promotions are open: nothing waits for it, and nothing is doubled.

Moving the clock and moving every time that was written before it are the same to whoever compares the two.
"""

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine, text

from mlflow_ext.domain.promotion import PromotionEvent, PromotionState
from mlflow_ext.errors import ConflictError
from mlflow_ext.lifecycle.open_promotions import end_overtaken, open_promotions
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.events import SqlEventLog
from mlflow_ext.store.promotions import SqlPromotions
from mlflow_ext.store.registry_view import SqlRegistryView

TIMES = {
    "promotion": ("lease_until", "created_at", "updated_at"),
    "promotion_step": ("at",),
    "registry_event": ("at",),
}


def move_clock(engine: Engine, days: int) -> None:
    """Set the clock so many days forward, or back."""
    with engine.begin() as connection:
        for table, columns in TIMES.items():
            moved = ", ".join(f"{column} = {column} - make_interval(days => :days)" for column in columns)
            connection.execute(text(f"UPDATE mlflow_ext.{table} SET {moved}"), {"days": days})


@pytest.mark.parametrize("days", [-1, 1])
def test_a_lease_from_before_ends_and_its_holder_is_fenced(engine: Engine, client: MlflowClient, days: int) -> None:
    """A dead worker's promotion is taken over at once; should it live, what it writes is refused."""
    one, two = SqlPromotions(engine, owner="one"), SqlPromotions(engine, owner="two")
    one.request("wine", 1, source="cli", cause="cli:1")
    held = one.claim()
    assert held is not None
    assert two.claim() is None
    move_clock(engine, days)
    taken = two.claim()
    assert taken is not None
    assert (taken.id, taken.attempt) == (held.id, 2)
    assert one.renew(held) is False
    with pytest.raises(ConflictError):
        one.record(held, PromotionEvent.GATES_PASSED)
    assert two.renew(taken)
    assert one.claim() is None


def test_what_was_put_off_does_not_wait_for_a_day(engine: Engine, client: MlflowClient) -> None:
    """A promotion that waits some seconds for MLflow goes on after the clock was set back."""
    promotions = SqlPromotions(engine, owner="one")
    promotions.request("wine", 1, source="cli", cause="cli:1")
    held = promotions.claim()
    assert held is not None
    promotions.postpone(held, 60, event="retry", note="MLflow does not answer")
    assert promotions.claim() is None
    move_clock(engine, -1)
    assert promotions.claim() is not None


@pytest.mark.filterwarnings("ignore:.*stages.*:FutureWarning")
@pytest.mark.parametrize("days", [-1, 1])
def test_marks_open_promotions_in_the_order_of_events(engine: Engine, client: MlflowClient, days: int) -> None:
    """A mark set after the clock moved opens one promotion, as every mark does; the trail's order is its sequence."""
    view, events, promotions = SqlRegistryView(engine), SqlEventLog(engine), SqlPromotions(engine, owner="one")
    for turn in (1, 2):
        client.transition_model_version_stage("wine", "1", "Staging")
        for _ in range(2):
            open_promotions("wine", view, events, promotions)
        claimed = promotions.claim()
        assert claimed is not None, f"the mark of turn {turn} opened nothing"
        promotions.record(claimed, PromotionEvent.GATES_FAILED, note="no")
        assert open_promotions("wine", view, events, promotions) == []
        move_clock(engine, days)
        # the old mark does not look new, whatever its time says now
        assert open_promotions("wine", view, events, promotions) == []
        client.transition_model_version_stage("wine", "1", "None")
    asked = promotions.request("wine", 1, source="cli", cause="cli:1")
    move_clock(engine, days)
    assert end_overtaken("wine", view, events, promotions) == []
    client.transition_model_version_stage("wine", "1", "Archived")
    [ended] = end_overtaken("wine", view, events, promotions)
    assert (ended.id, ended.state) == (asked.id, PromotionState.SUPERSEDED)
    assert len(promotions.find("wine")) == 3
    entries = SqlAudit(engine).entries("wine")
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert SqlAudit(engine).verify() == []
