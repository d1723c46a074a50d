"""Window statistics: order, chunking and merging never change a result, and counts are exact."""

import math
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.engine.levels import NAMED_NEW, LevelCounts
from drift.engine.methods.moments import deviation, mean
from drift.engine.numbers import NumberCounts
from drift.engine.profile import ReferenceProfile
from drift.engine.statistics import WindowStatistics
from tests.unit.drift.engine.tables import counted, profiled

RNG = np.random.default_rng(5)
PROFILE = profiled(
    {
        "normal": RNG.normal(3, 2, 3_000),
        "long_tail": RNG.lognormal(0, 3, 3_000),
        "whole": RNG.poisson(20, 3_000),
        "few": RNG.integers(0, 3, 3_000),
        "text": RNG.choice(["a", "b", "c"], 3_000),
        "truth": RNG.random(3_000) < 0.2,
    }
)
NUMBER = st.none() | st.floats() | st.floats(-10, 10) | st.integers(-40, 40).map(float)
ROW = st.fixed_dictionaries(
    {
        "normal": NUMBER,
        "long_tail": NUMBER,
        "whole": NUMBER,
        "few": NUMBER,
        "text": st.none() | st.sampled_from(["a", "b", "c", "new"]) | st.text(max_size=2),
        "truth": st.none() | st.booleans(),
    }
)
TYPES = {"normal": float, "long_tail": float, "whole": float, "few": float, "text": str, "truth": bool}


def statistics(rows: list[dict[str, Any]], group_rows: int = 1_000_000) -> WindowStatistics:
    """Count rows."""
    import pyarrow as pa

    kinds = {float: pa.float64(), str: pa.string(), bool: pa.bool_()}
    return counted(
        PROFILE, {name: pa.array([row[name] for row in rows], kinds[kind]) for name, kind in TYPES.items()}, group_rows
    )


def same(one: WindowStatistics, other: WindowStatistics) -> bool:
    """Compare to the last bit."""
    return one.to_bytes() == other.to_bytes()


@given(rows=st.lists(ROW, min_size=1, max_size=40), data=st.data())
@settings(max_examples=25, deadline=None)
def test_order_chunking_and_merging_never_change_a_result(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    """Any order of rows, any row groups, any portions, merged in any order: the same bytes."""
    whole = statistics(rows)
    shuffled = data.draw(st.permutations(rows))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    ends = [0, *cuts, len(rows)]
    portions = [statistics(list(shuffled[a:b]), 7) for a, b in pairwise(ends)]
    for mixed in (portions, portions[::-1], data.draw(st.permutations(portions))):
        assert same(reduce(add, mixed), whole)
    left = reduce(add, portions[:2])
    assert same(left + reduce(add, portions[2:], WindowStatistics()), whole)
    assert same(WindowStatistics.from_bytes(whole.to_bytes()), whole)


def test_counts_are_exact() -> None:
    """Counts below each edge are those of the values themselves, and no value is lost."""
    values = np.concatenate([RNG.normal(3, 2, 20_000), [1e6, -1e6, np.inf, -np.inf]])
    found = counted(PROFILE, {"normal": values}).columns["data", "normal"]
    bins = PROFILE.columns["normal"].bins
    assert isinstance(found, NumberCounts)
    assert bins is not None
    assert found.counts.sum() == found.present == len(values)
    assert found.infinite == 2
    below = np.searchsorted(np.sort(values), bins.edges, side="left")
    # an edge is told to the last bit of a floating-point number or two
    assert np.abs(np.cumsum(found.counts)[:-1] - below).max() <= 1
    assert (found.minimum, found.maximum) == (-1e6, 1e6)


def test_mean_and_deviation_are_those_of_the_rows() -> None:
    """Exact for whole numbers, to a thousandth of a standard deviation for others."""
    for name, values in (("whole", RNG.poisson(25, 5_000).astype(float)), ("normal", RNG.normal(4, 1, 5_000))):
        found = counted(PROFILE, {name: values}).columns["data", name]
        bins = PROFILE.columns[name].bins
        assert isinstance(found, NumberCounts)
        assert bins is not None
        near = 1e-12 if name == "whole" else 1e-3 * values.std()
        assert mean(found, bins) == pytest.approx(values.mean(), abs=near)
        assert deviation(found, bins) == pytest.approx(values.std(ddof=1), abs=10 * near)


def test_unknown_levels_are_counted_and_estimated() -> None:
    """Those kept by name carry their whole counts; their number is known up to 64, and within a third beyond."""
    few = counted(PROFILE, {"text": ["a"] * 5 + ["x"] * 3 + ["y"]}).columns["data", "text"]
    assert isinstance(few, LevelCounts)
    assert (few.others, few.different) == ({"x": 3, "y": 1}, 3)
    names = [f"n{number}" for number in range(5_000)] * 2
    many = counted(PROFILE, {"text": names}, 997).columns["data", "text"]
    assert isinstance(many, LevelCounts)
    assert len(many.others) == NAMED_NEW
    assert set(many.others.values()) == {2}
    assert many.counts[-1] == 10_000
    assert many.different == pytest.approx(5_000, rel=0.33)


def test_a_profile_reads_back_as_it_was() -> None:
    """The same bins, levels and counts; another format is read as none."""
    again = ReferenceProfile.from_bytes(PROFILE.to_bytes())
    assert again is not None
    assert again.id == PROFILE.id
    rebuilt = ReferenceProfile(again.source, again.rows, again.columns)
    assert rebuilt.to_bytes() == PROFILE.to_bytes()


@pytest.mark.parametrize(
    "values",
    [
        [1.0],
        [5.0] * 100,
        [0.1] * 100,
        [1e300, -1e300, 1.7e308, -1.7e308],
        [5e-324, 0.0, 1e-300],
        [1e15 + 1, 1e15 + 2, 1e15 + 3],
        [1.0, np.nextafter(1.0, 2.0)],
        [math.inf, 1.0, math.nan],
        list(range(100_000)),
        [0.0] * 1_000 + [1e6],
    ],
)
def test_any_numbers_can_be_a_reference(values: list[float]) -> None:
    """Whatever their size, their own window is counted whole, and bins stay bounded."""
    profile = profiled({"c": np.array(values, dtype=float)})
    found = counted(profile, {"c": np.array(values, dtype=float)}).columns["data", "c"]
    assert isinstance(found, NumberCounts)
    mine = profile.columns["c"].counts
    assert mine is not None
    assert (found.counts == mine.counts).all()
    assert found.counts.sum() == found.present
    assert len(found.counts) < 2_200
