"""Restarts: back-off doubles up to a bound, the limit holds within the window, and old deaths are forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext.supervisor.restarts import Restarts


def test_pauses_double_up_to_the_longest_and_then_it_gives_up() -> None:
    """Five deaths in a row are answered by growing pauses, the sixth by giving up."""
    restarts = Restarts(limit=5, window_s=60, first_s=1, longest_s=6)
    assert [restarts.pause_after_death(at) for at in range(6)] == [1, 2, 4, 6, 6, None]


def test_deaths_that_are_far_apart_never_add_up() -> None:
    """A part that dies once in a while is always started again, after the shortest pause."""
    restarts = Restarts(limit=1, window_s=60, first_s=1)
    assert [restarts.pause_after_death(at) for at in (0, 61, 122, 183)] == [1, 1, 1, 1]


@given(gaps=st.lists(st.floats(min_value=0, max_value=100), max_size=60), limit=st.integers(1, 6))
def test_never_more_restarts_than_the_limit_within_a_window(gaps: list[float], limit: int) -> None:
    """For all times of death: any window holds at most `limit` restarts, and pauses stay within their bounds."""
    restarts = Restarts(limit=limit, window_s=50, first_s=0.5, longest_s=15)
    now, restarted = 0.0, []
    for gap in gaps:
        now += gap
        pause = restarts.pause_after_death(now)
        if pause is None:
            break
        assert 0.5 <= pause <= 15
        restarted.append(now)
    assert all(sum(start <= at <= start + 50 for at in restarted) <= limit for start in restarted)
