"""How much of a processor the compactor takes."""

import pytest
from hypothesis import given
from hypothesis.strategies import floats

from drift.worker import COMPACTOR_SHARE, LONGEST_REST_S, POLL_S, rest_s


@given(floats(0, 3600))
def test_it_takes_its_share_unless_it_has_rested_longest(used_s: float) -> None:
    """Of a round and the rest after it, it computes a tenth at most, or the rest was the longest."""
    rest = rest_s(used_s)
    assert POLL_S <= rest <= LONGEST_REST_S
    assert rest == LONGEST_REST_S or used_s / (used_s + rest) <= COMPACTOR_SHARE * 1.001


@pytest.mark.parametrize(("used_s", "rest"), [(0, 0.5), (0.05, 0.5), (0.2, 1.8), (1, 2)])
def test_it_looks_often_while_there_is_little_to_do(used_s: float, rest: float) -> None:
    """Twice a second without work."""
    assert rest_s(used_s) == pytest.approx(rest)
