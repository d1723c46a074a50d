"""Groups: how rows fall into them, and differences that are fairlearn's."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_ext.gates.statistics.groups import (
    MISSING,
    groups_of,
    interval,
    odds_difference,
    parity_difference,
    value_by_group,
)

rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 3)), min_size=4, max_size=40)


@settings(max_examples=40, deadline=None)
@given(rows)
def test_differences_are_fairlearns(some: list[tuple[int, int, int]]) -> None:
    """Demographic parity and equalised odds for all labels, answers and groups in which both labels occur."""
    groups = {group for _, _, group in some}
    # fairlearn warns, and gives no rate, where a group lacks a label
    full = [*some, *((label, 0, group) for group in groups for label in (0, 1))]
    truth, said, group = (np.array(side) for side in zip(*full, strict=True))
    number = pd.factorize(group)[0]
    assert parity_difference(said, number) == pytest.approx(
        demographic_parity_difference(truth, said, sensitive_features=group)
    )
    assert odds_difference(truth, said, number) == pytest.approx(
        equalized_odds_difference(truth, said, sensitive_features=group)
    )


def test_an_example_by_hand() -> None:
    """Group a is accepted 3 of 4 times, b 1 of 4: 0.5 apart; of the good ones 2 of 2 and 1 of 2."""
    truth = np.array([1, 1, 0, 0, 1, 1, 0, 0])
    said = np.array([1, 1, 1, 0, 1, 0, 0, 0])
    group = np.array([0] * 4 + [1] * 4)
    assert parity_difference(said, group) == 0.5
    assert odds_difference(truth, said, group) == 0.5


def test_numbers_become_ranges_and_missing_values_a_group() -> None:
    """Few different numbers stay as they are; many are cut; text and truth values are groups by themselves."""
    ages = pd.Series([*range(100), None], name="age")
    cut = groups_of(ages, 4)
    assert cut.value_counts().tolist() == [25, 25, 25, 25, 1]
    assert cut.iloc[-1] == MISSING
    assert sorted(groups_of(pd.Series([1, 2, 1], name="n"), 4).unique()) == ["1", "2"]
    assert sorted(groups_of(pd.Series(["x", None, "y"], name="t"), 2).unique()) == [MISSING, "x", "y"]
    assert sorted(groups_of(pd.Series([True, False], name="b"), 2).unique()) == ["False", "True"]
    names = groups_of(pd.Series(["ann"] * 9 + [f"n{n}" for n in range(500)], name="name"), 2)
    assert (names.nunique(), (names == "ann").sum(), (names == "(others)").sum()) == (101, 9, 401)


@settings(max_examples=30, deadline=None)
@given(rows)
def test_values_by_group_are_those_of_their_rows(some: list[tuple[int, int, int]]) -> None:
    """Each group's value is the measure of its rows alone."""
    truth, said, group = (np.array(side) for side in zip(*some, strict=True))
    names = pd.Series([f"g{n}" for n in group])
    found = value_by_group(lambda t, a: float((t == a).mean()), truth, said, names)
    assert {name: found[name] for name in names.unique()} == {
        name: pytest.approx((truth == said)[(names == name).to_numpy()].mean()) for name in names.unique()
    }


def test_an_interval_of_a_mean() -> None:
    """Close to the textbook's, and the same each time."""
    values = np.random.default_rng(1).normal(size=1_000)
    low, high = interval(lambda drawn: float(values[drawn].mean()), 1_000, 0.95)
    reach = 1.96 * values.std() / np.sqrt(1_000)
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.012)
    assert interval(lambda drawn: float(values[drawn].mean()), 1_000, 0.95) == (low, high)
