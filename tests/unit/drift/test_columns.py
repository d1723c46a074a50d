"""The guard: whatever comes, columns are either compared in NumPy types or decided with a note."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drift.columns import POOLED, Comparable, guard
from mlflow_ext.domain.drift import ColumnDrift

RNG = np.random.default_rng(3)
N = 400


def one(reference: Any, current: Any) -> Comparable | ColumnDrift:
    """Guard a single column."""
    comparable, decided = guard(pd.DataFrame({"c": reference}), pd.DataFrame({"c": current}), "data")
    return [*comparable, *decided][0]


@pytest.mark.parametrize(
    ("values", "categorical"),
    [
        (RNG.normal(size=N), False),
        (RNG.integers(0, 100, N), False),
        (pd.array(RNG.integers(0, 100, N), dtype="Int64"), False),
        (pd.array(RNG.integers(0, 100, N), dtype="UInt8"), False),
        (pd.Series(RNG.normal(size=N)).astype("double[pyarrow]"), False),
        (RNG.integers(0, 3, N), True),
        (RNG.random(N) < 0.5, True),
        (pd.array(RNG.random(N) < 0.5, dtype="boolean"), True),
        (RNG.choice(["x", "y"], N), True),
        (pd.Categorical(RNG.choice(["x", "y"], N)), True),
    ],
)
def test_every_type_that_a_signature_has_is_compared(values: Any, categorical: bool) -> None:
    """Numbers as 64-bit floats, everything else as text levels, whatever pandas made of them."""
    found = one(values, values)
    assert isinstance(found, Comparable)
    assert found.categorical is categorical
    assert found.reference.dtype == (object if categorical else np.float64)
    assert len(found.current) == N


def test_numbers_that_arrive_as_text_are_numbers() -> None:
    """The same numbers, written as text, compare as numbers."""
    numbers = RNG.normal(size=N)
    found = one(numbers, pd.Series([str(value) for value in numbers], dtype=object))
    assert isinstance(found, Comparable)
    assert not found.categorical


@pytest.mark.parametrize(
    ("reference", "current", "note"),
    [
        (pd.date_range("2026", periods=N), pd.date_range("2027", periods=N), "times"),
        ([None] * N, [None] * N, "neither"),
        ([f"id{number}" for number in range(N)], [f"id{number + N}" for number in range(N)], "identifier"),
    ],
)
def test_what_cannot_be_compared_says_why(reference: Any, current: Any, note: str) -> None:
    """Times, empty columns and identifiers are left out, with the reason."""
    found = one(reference, current)
    assert isinstance(found, ColumnDrift)
    assert not found.compared
    assert note in found.note


def test_a_column_that_arrives_empty_is_drift() -> None:
    """Evidently would fail on it, or not see it."""
    found = one(RNG.normal(size=N), [np.nan] * N)
    assert isinstance(found, ColumnDrift)
    assert found.drifted
    assert (found.method, found.score) == ("missing_share", 1.0)


def test_more_missing_values_are_drift() -> None:
    """Half of the values gone is drift, although those that remain look alike."""
    values = pd.Series(RNG.normal(size=N))
    found = one(values, values.where(np.arange(N) % 2 == 0))
    assert isinstance(found, ColumnDrift)
    assert found.drifted


def test_a_column_unknown_to_the_reference_is_left_out_and_others_go_on() -> None:
    """The reference may be older than a column; ignored columns do not appear at all."""
    reference = pd.DataFrame({"a": RNG.normal(size=N), "i": 1.0})
    current = pd.DataFrame({"a": RNG.normal(size=N), "b": 1.0, "i": 1.0})
    comparable, decided = guard(reference, current, "data", ignore=("i",))
    assert [one.name for one in comparable] == ["a"]
    assert [(one.column, one.compared) for one in decided] == [("b", False)]


def test_rare_levels_are_pooled_and_a_handful_of_new_ones_does_not_stand_alone() -> None:
    """Levels that are expected fewer than five times become one, which the reference has too."""
    found = one(["a"] * 300 + ["b"] * 100, ["a"] * 297 + ["b"] * 100 + ["new", "newer", "newest"])
    assert isinstance(found, Comparable)
    assert set(found.reference) == {"a", POOLED}
    assert set(found.current) == {"a", POOLED}


def test_labels_mean_the_same_in_every_spelling() -> None:
    """1, 1.0 and "1" are one level, and so are True and "true"."""
    found = one(pd.Series([0, 1] * 200), pd.Series([0.0, 1.0] * 200))
    assert isinstance(found, Comparable)
    assert set(found.reference) == set(found.current) == {"0", "1"}
    found = one(pd.Series([True, False] * 200), pd.Series(["true", "false"] * 200))
    assert isinstance(found, Comparable)
    assert set(found.reference) == set(found.current)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=3),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=30), st.lists(VALUES, min_size=1, max_size=30))
def test_nothing_makes_the_guard_fail(reference: list[Any], current: list[Any]) -> None:
    """Any mixture of values on either side is compared without missing values, or decided with a note."""
    found = one(pd.Series(reference, dtype=object), pd.Series(current, dtype=object))
    if isinstance(found, Comparable):
        assert not found.reference.isna().any()
        assert not found.current.isna().any()
        assert len(found.reference)
        assert len(found.current)
    else:
        assert found.note
