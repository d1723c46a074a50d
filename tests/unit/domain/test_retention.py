"""Which segments may go: whatever the bounds, never one that a window needs."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext.domain.retention import expired
from mlflow_ext.domain.segments import Segment

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def segment(age_h: float, size_bytes: int) -> Segment:
    """A segment whose last row came so many hours ago."""
    last = NOW - timedelta(hours=age_h)
    return Segment("m", 1, last, f"s/{age_h}-{size_bytes}", 10, size_bytes, last, last)


def test_old_ones_go_by_age() -> None:
    """A segment goes when its last row is older than `keep_s`."""
    stored = [segment(1, 5), segment(10, 5), segment(30, 5)]
    found = expired(stored, NOW, keep_s=20 * 3600, keep_bytes=None, needed_since=NOW)
    assert found.segments == (stored[2],)


def test_the_oldest_go_until_the_rest_has_room() -> None:
    """Not one more than needed."""
    stored = [segment(hours, 10) for hours in (1, 2, 3, 4)]
    found = expired(stored, NOW, keep_s=None, keep_bytes=25, needed_since=NOW)
    assert found.segments == (stored[3], stored[2])
    assert found.over_bytes == 0


def test_what_a_window_needs_stays_and_is_told() -> None:
    """However small the room is."""
    stored = [segment(hours, 10) for hours in (1, 2, 3, 4)]
    found = expired(stored, NOW, keep_s=1, keep_bytes=5, needed_since=NOW - timedelta(hours=3))
    assert found.segments == (stored[3],)
    assert found.over_bytes == 25


sizes = st.integers(1, 1000)
ages = st.floats(0, 1000, allow_nan=False)


@given(
    st.lists(st.tuples(ages, sizes), unique_by=lambda one: one[0]),
    st.none() | st.floats(0.001, 1e12),
    st.none() | sizes,
    ages,
)
def test_bounds_hold_wherever_windows_allow(
    ages_and_sizes: list[tuple[float, int]], keep_s: float | None, keep_bytes: int | None, needed_h: float
) -> None:
    """For all stores and bounds: nothing needed goes, and what stays beyond a bound is needed."""
    stored = [segment(*one) for one in ages_and_sizes]
    needed = NOW - timedelta(hours=needed_h)
    found = expired(stored, NOW, keep_s=keep_s, keep_bytes=keep_bytes, needed_since=needed)
    assert all(one.last_at < needed for one in found.segments)
    left = [one for one in stored if one not in found.segments]
    removable = [one for one in left if one.last_at < needed]
    if keep_bytes is not None:
        assert found.over_bytes == max(0, sum(one.size_bytes for one in left) - keep_bytes)
        assert not removable or found.over_bytes == 0
    if keep_s is not None and keep_s < 1e6:
        assert all(one.last_at >= NOW - timedelta(seconds=keep_s) for one in removable)
    if keep_s is None and keep_bytes is None:
        assert found.segments == ()
