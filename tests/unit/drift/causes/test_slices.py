"""The rows whose share changed most."""

import numpy as np
import pandas as pd
import pytest

from drift.causes.features import encode
from drift.causes.slices import FoundSlice, find_slice

NAMES = ["temp", "origin", "wind", "member"]


def rows(count: int, seed: int) -> pd.DataFrame:
    """Rows without drift: numbers with gaps, categories, truth values."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "temp": rng.normal(15, 6, count),
            "origin": rng.choice(["JFK", "LGA", "EWR"], count),
            "wind": np.where(rng.random(count) < 0.1, np.nan, rng.lognormal(1, 0.5, count)),
            "member": rng.random(count) < 0.4,
        }
    )


def found(there: pd.DataFrame, here: pd.DataFrame) -> FoundSlice | None:
    """The slice of two frames."""
    features, a, b = encode(there, here, NAMES)
    return find_slice(features, a, b)


def test_a_planted_slice_is_named_with_its_shares() -> None:
    """Rows of one place that are hot: most of the window, a small part of the reference."""
    there, here = rows(6_000, 1), rows(6_000, 2)
    hot = np.random.default_rng(3).random(len(here)) < 0.55
    here.loc[hot, "origin"] = "JFK"
    here.loc[hot, "temp"] = np.random.default_rng(4).uniform(22, 35, int(hot.sum()))
    one = found(there, here)
    assert one is not None
    said = " and ".join(one.told.conditions)
    assert "temp > 2" in said
    assert "origin = JFK" in said
    assert one.told.window_share > 0.5
    assert one.told.reference_share < 0.1
    assert one.told.difference_low < one.told.window_share - one.told.reference_share < one.told.difference_high
    assert one.told.lift_low < one.told.lift < one.told.lift_high
    assert one.told.lift_low > 4


@pytest.mark.parametrize("seed", range(10))
def test_without_drift_no_rows_are_named(seed: int) -> None:
    """Whatever the tree finds on its half does not hold on the other."""
    assert found(rows(3_000, 100 + seed), rows(1_000, 200 + seed)) is None


def test_a_category_that_went_is_told_as_such() -> None:
    """And not as all rows that are of other categories."""
    there, here = rows(5_000, 5), rows(5_000, 6)
    there.loc[np.random.default_rng(7).random(len(there)) < 0.2, "origin"] = "EGE"
    one = found(there, here)
    assert one is not None
    assert one.told.conditions == ("origin = EGE",)
    assert one.told.window_share == 0
    assert one.told.reference_share == pytest.approx(0.2, abs=0.02)


def test_new_categories_are_told_together() -> None:
    """Many levels that the reference does not have are one condition."""
    there, here = rows(5_000, 8), rows(5_000, 9)
    some = np.random.default_rng(10).random(len(here)) < 0.4
    here.loc[some, "origin"] = [f"new {number % 200}" for number in range(int(some.sum()))]
    one = found(there, here)
    assert one is not None
    assert one.told.conditions == ("origin is none of the reference's values",)
    assert one.told.window_share == pytest.approx(0.4, abs=0.03)


def test_missing_values_are_told() -> None:
    """Where values begin to lack, that is the slice."""
    there, here = rows(5_000, 11), rows(5_000, 12)
    here["member"] = here["member"].astype(object).where(np.random.default_rng(13).random(len(here)) < 0.5, None)
    one = found(there, here)
    assert one is not None
    assert one.told.conditions == ("member is missing",)
    assert one.told.reference_share == 0


def test_words_say_where_missing_values_count() -> None:
    """A bound on a column with gaps says whether rows without a value are among its rows."""
    there, here = rows(5_000, 18), rows(5_000, 19)
    here["wind"] = here["wind"] * 3
    one = found(there, here)
    assert one is not None
    _, _, matrix = encode(there, here, NAMES)
    said = " and ".join(one.told.conditions)
    assert one.of(matrix)[here["wind"].isna().to_numpy()].all() == ("(wind" in said and "or missing" in said)


def test_the_words_are_what_is_measured() -> None:
    """Shares follow from the conditions as they are told, bounds rounded as in the words."""
    there, here = rows(4_000, 14), rows(4_000, 15)
    here["temp"] += 7.123456
    one = found(there, here)
    assert one is not None
    [condition] = one.told.conditions
    bound = float(condition.removeprefix("temp > "))
    assert (here["temp"] > bound).mean() == pytest.approx(one.told.window_share, abs=0.03)
    _, _, matrix = encode(there, here, NAMES)
    assert (one.of(matrix) == (here["temp"].astype("float32") > bound).to_numpy()).all()


def test_odd_columns_cost_nothing() -> None:
    """Mixed objects, infinity, text where numbers were, columns of one side only."""
    there, here = rows(500, 16), rows(500, 17)
    here["temp"] = ["warm", *here["temp"].tolist()[1:]]
    here["origin"] = [1, None, *here["origin"].tolist()[2:]]
    there.loc[3, "wind"] = np.inf
    features, a, b = encode(there, here.drop(columns="member"), NAMES)
    assert "member" not in {one.column for one in features}
    assert a.shape == (500, len(features))
    assert b.shape == (500, len(features))
    find_slice(features, a, b)
