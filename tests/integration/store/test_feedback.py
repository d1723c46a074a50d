"""Outcomes in PostgreSQL: stored once, whatever is sent how often."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select

from mlflow_ext.errors import InvalidInputError
from mlflow_ext.store.feedback import Feedback, FeedbackRow
from mlflow_ext.store.tables import feedback


def stored(engine: Engine, model: str = "wine") -> dict[tuple[str, int], Any]:
    """Give what is stored."""
    with engine.connect() as connection:
        rows = connection.execute(select(feedback).where(feedback.c.model == model)).all()
    return {(row.request_id, row.row): row.value for row in rows}


def test_sending_again_changes_nothing(engine: Engine) -> None:
    """The same outcomes sent twice are stored once, with the time of the first delivery."""
    rows = [FeedbackRow("r1", 1), FeedbackRow("r1", "late", 1), FeedbackRow("r2", None)]
    assert Feedback(engine).add("wine", rows) == 3
    with engine.connect() as connection:
        first = connection.execute(select(feedback).order_by(feedback.c.request_id, feedback.c.row)).all()
    assert Feedback(engine).add("wine", rows) == 3
    with engine.connect() as connection:
        again = connection.execute(select(feedback).order_by(feedback.c.request_id, feedback.c.row)).all()
    assert [row.received_at for row in first if row.request_id == "r1"] == [
        row.received_at for row in again if row.request_id == "r1"
    ]
    assert stored(engine)["r1", 1] == "late"


def test_the_last_value_counts(engine: Engine) -> None:
    """A corrected outcome replaces the former one, within a delivery and across deliveries."""
    store = Feedback(engine)
    store.add("wine", [FeedbackRow("r1", 1), FeedbackRow("r1", 2)])
    assert stored(engine) == {("r1", 0): 2}
    store.add("wine", [FeedbackRow("r1", 3)])
    store.add("beer", [FeedbackRow("r1", 9)])
    assert (stored(engine), stored(engine, "beer")) == ({("r1", 0): 3}, {("r1", 0): 9})
    assert store.add("wine", []) == 0


_json = st.recursive(
    # PostgreSQL keeps a number's decimal digits, which from 1e16 on are no longer all of a float's
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(-1e15, 1e15)
    | st.sampled_from([float("nan"), float("inf")])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(_json)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_value(engine: Engine, value: Any) -> None:
    """Every JSON value is stored as it is, or refused as InvalidInputError; nothing else happens."""
    with engine.begin() as connection:
        connection.execute(delete(feedback))
    try:
        Feedback(engine).add("wine", [FeedbackRow("r", value)])
    except InvalidInputError:
        assert stored(engine) == {}
    else:
        assert stored(engine) == {("r", 0): value}


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], "a\x00b", {"a\x00": 1}])
def test_what_json_cannot_hold_is_refused(engine: Engine, value: Any) -> None:
    """NaN, infinity and NUL characters are InvalidInputError, and nothing of that delivery is stored."""
    with pytest.raises(InvalidInputError, match="NaN"):
        Feedback(engine).add("wine", [FeedbackRow("good", 1), FeedbackRow("r", value)])
    assert stored(engine) == {}
