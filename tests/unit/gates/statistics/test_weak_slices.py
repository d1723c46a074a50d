"""The search for weak rows: it finds what is there, says it in a rule that holds, and does not find chance."""

import numpy as np
import pandas as pd

from mlflow_ext.gates.statistics.groups import interval
from mlflow_ext.gates.statistics.weak_slices import weakest_slice


def rows(seed: int, count: int = 800) -> pd.DataFrame:
    """Numbers, words, truth values and gaps."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": np.where(rng.random(count) < 0.1, np.nan, rng.normal(size=count)),
            "n": rng.integers(0, 5, count),
            "word": rng.choice(["a", "b", "c", None], count),
            "flag": rng.random(count) < 0.3,
        }
    )


def test_a_rule_holds_for_exactly_the_rows_that_are_given() -> None:
    """Numbers are compared, words and truth values are named, and only the judging half is counted."""
    frame = rows(1)
    weak = (frame["word"] == "b") & frame["flag"]
    found = weakest_slice(frame, weak.to_numpy(dtype=float), minimum_rows=20)
    assert set(found.rule.split(" and ")) == {"word is b", "flag is not False"} or "flag is True" in found.rule
    half = np.zeros(len(frame), dtype=bool)
    half[found.others] = True
    assert half.sum() == 400
    assert found.rows.tolist() == np.flatnonzero(weak.to_numpy() & half).tolist()
    numbers = weakest_slice(frame[["n"]], (frame["n"] >= 3).to_numpy(dtype=float), minimum_rows=20)
    assert numbers.rule == "n > 2.5"


def test_chance_is_not_found() -> None:
    """On noise the slice that looks worst where the tree grew is no worse than the others on the judging half."""
    alarms = 0
    for seed in range(100):
        frame = rows(seed, 400)
        loss = np.random.default_rng(seed + 1_000).random(400)
        found = weakest_slice(frame, loss, minimum_rows=30)
        weak, average = loss[found.rows], loss[found.others].mean()
        if len(weak) and len(weak) < len(found.others):
            low, _ = interval(lambda drawn, weak=weak: float(weak[drawn].mean()), len(weak), 0.95)  # type: ignore[misc]
            alarms += low > average
    # one-sided 2.5 % each; seeds are fixed; 10 or more of 100 would be rare
    assert alarms < 10


def test_there_may_be_nothing_to_tell_rows_apart_by() -> None:
    """No columns, or a constant loss: all rows are one slice. Too few rows for any slice: none."""
    frame = rows(3)
    for features, loss in ((frame[[]], np.random.default_rng(0).random(800)), (frame, np.ones(800))):
        found = weakest_slice(features, loss, minimum_rows=30)
        assert (found.rule, len(found.rows)) == ("", 400)
    few = weakest_slice(frame.head(40), np.arange(40.0), minimum_rows=30)
    assert len(few.rows) == 0
