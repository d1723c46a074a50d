"""The leakage gate on samples of which it is known what they share and where they differ."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.gate_context import LoggedRequests
from mlflow_ext.gates import judge
from mlflow_ext.gates.leakage import LeakagePolicy
from mlflow_ext.gates.statistics.samples import distances, row_hashes
from mlflow_ext.testing import MemoryContext, MemoryVersion

SOURCE = "artifact:data/reference.parquet"


def sample(rows: int, seed: int, shift: float = 0.0, words: str = "aab") -> pd.DataFrame:
    """Rows of a number, a whole number and a word."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"x": rng.normal(shift, 1, rows), "n": rng.integers(0, 10**9, rows), "w": rng.choice(list(words), rows)}
    )


TRAINING = sample(1_000, 1)
ROWS = pd.concat([sample(190, 2), TRAINING.iloc[[5, 5, 9, 20, 30, 40, 50, 60, 70, 80]]], ignore_index=True)


def context(sent: pd.DataFrame | None = None, training: pd.DataFrame | None = TRAINING) -> MemoryContext:
    """A candidate with evaluation rows, training rows and logged requests."""
    logged = None if sent is None else LoggedRequests(pd.DataFrame(index=sent.index), sent, pd.DataFrame())
    others = {} if training is None else {SOURCE: training}
    return MemoryContext(MemoryVersion(2), ROWS.assign(target=0), logged=logged, others=others)


def judged(where: MemoryContext, **policy: Any) -> list[GateResult]:
    """Let the gate judge, as a policy's gates do."""
    return list(judge([LeakagePolicy.model_validate(policy)], where))


def test_rows_that_were_trained_on_are_counted_and_named() -> None:
    """Ten of two hundred, one of them twice; the table has their numbers."""
    where = context()
    [result] = judged(where, max_shared=0.04)
    assert (result.verdict, result.measured, result.sample_size) == (Verdict.FAILED, 0.05, 200)
    assert "10 of 200 evaluation rows (5.00%)" in result.reason
    table = where.tables[result.evidence or ""]
    assert table["evaluation_row"].tolist() == list(range(190, 200))
    assert table["training_rows"].tolist() == [1] * 10
    assert result.details["evaluation_rows_that_repeat"] == pytest.approx(1 / 200)
    [allowed] = judged(context(), max_shared=0.05)
    assert allowed.verdict is Verdict.PASSED


def test_a_row_is_recognised_by_what_the_policy_says() -> None:
    """By the word alone, everything was seen; the target and further columns of the training data do not count."""
    [all_of_it] = judged(context(training=TRAINING.assign(target=1, prediction=0)), max_shared=0.5, columns=["w"])
    assert all_of_it.measured == 1.0


def test_files_that_keep_numbers_differently_hold_the_same_rows() -> None:
    """Whole numbers as decimals, words as categories, single precision: the same rows, the same share."""
    other = TRAINING.astype({"n": "float64", "w": "category", "x": "float32"})
    [result] = judged(context(training=other), max_shared=0.0)
    assert result.measured == 0.05


def test_without_training_rows_it_says_nothing() -> None:
    """None, too few, or others: inconclusive with the way out, or an error with the names."""
    [none] = judged(context(training=None), max_shared=0)
    [few] = judged(context(training=TRAINING.head(50)), max_shared=0)
    [others] = judged(context(training=TRAINING.drop(columns="x")), max_shared=0)
    assert (none.verdict, "log it in the run" in none.reason) == (Verdict.INCONCLUSIVE, True)
    assert (few.verdict, "50 rows" in few.reason) == (Verdict.INCONCLUSIVE, True)
    assert (others.verdict, "lack the columns x" in others.reason) == (Verdict.ERROR, True)


def test_columns_in_which_production_has_moved_are_named() -> None:
    """One number has moved by a deviation, one word has become common; the third column stays."""
    where = context(sample(500, 3, shift=1.0, words="abb"))
    [result] = judged(where, max_drifted=0.5)
    assert (result.verdict, result.measured) == (Verdict.FAILED, pytest.approx(2 / 3))
    assert "x (0." in result.reason
    by_column = {one["column"]: one for one in result.details["columns"]}
    assert by_column["x"]["distance"] == pytest.approx(0.38, abs=0.1)
    assert by_column["w"]["distance"] == pytest.approx(1 / 3, abs=0.06)
    assert by_column["n"]["distance"] < 0.1
    assert where.pictures[result.picture or ""].startswith(b"\x89PNG")
    [same] = judged(context(sample(500, 4)), max_drifted=0.0)
    assert same.verdict is Verdict.PASSED


def test_without_requests_drift_is_inconclusive_and_sharing_is_judged() -> None:
    """A model that nobody asks yet; the policy tells how many rows it wants to see."""
    shared, drifted = judged(context(), max_shared=0.5, max_drifted=0.1)
    assert (shared.verdict, drifted.verdict) == (Verdict.PASSED, Verdict.INCONCLUSIVE)
    [few] = judged(context(sample(99, 5)), max_drifted=0.1)
    assert (few.verdict, "99 rows are logged" in few.reason) == (Verdict.INCONCLUSIVE, True)
    assert LeakagePolicy(max_shared=0).requests_wanted == 0
    assert LeakagePolicy(max_drifted=0, requests=300).requests_wanted == 300


def test_a_policy_that_bounds_nothing_is_a_mistake() -> None:
    """It is refused when the policy is read."""
    with pytest.raises(ValidationError, match="max_shared or max_drifted"):
        LeakagePolicy()


VALUES = st.floats(allow_nan=True, allow_infinity=True, width=32) | st.integers(-(2**40), 2**40)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(VALUES, st.text(max_size=3)), min_size=1, max_size=20), st.randoms())
def test_equal_rows_have_equal_hashes(rows: list[tuple[float, str]], random: Any) -> None:
    """In whatever order, and from whichever file: exactly the rows that are equal are recognised."""
    frame = pd.DataFrame(rows, columns=["x", "w"]).astype({"x": "float64"})
    order = list(range(len(rows)))
    random.shuffle(order)
    other = frame.iloc[order].reset_index(drop=True)
    mine, theirs = row_hashes(frame, other), row_hashes(other, frame)
    assert sorted(mine) == sorted(theirs)
    keys = [(repr(x + 0.0), w) for x, w in zip(frame["x"], frame["w"], strict=True)]
    assert len(set(mine)) == len(set(keys))


def test_columns_without_values_are_left_out() -> None:
    """Nothing can be said of them."""
    empty = pd.DataFrame({"x": [None, None], "n": [1, 2], "w": ["a", "a"]})
    assert [one.column for one in distances(TRAINING, empty)] == ["n", "w"]
    assert distances(empty[["w"]], empty[["w"]])[0].distance == 0
