"""Slices that policy names: which rows they are, and that all columns of all of them are one family of tests."""

import numpy as np
import pandas as pd
import pytest

from drift.engine.comparison import answered
from drift.engine.rules import Rules
from drift.slices import Side, examine_slices, judged, rows_in, slices_of, words
from mlflow_ext.domain.drift import DriftVerdict, SliceReport
from mlflow_ext.policy import DriftPolicy

NAMES = [f"n{number}" for number in range(10)]


def rows(seed: int, count: int = 6_000) -> pd.DataFrame:
    """Ten numbers, and a country; DE is a tenth."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(count, 10)), columns=NAMES)
    return frame.assign(country=rng.choice(["FR", "IT", "ES", "DE"], count, p=[0.4, 0.3, 0.2, 0.1]))


def reports(policy: DriftPolicy, there: pd.DataFrame, here: pd.DataFrame) -> list[SliceReport]:
    """What each slice says."""
    slices = slices_of(policy.slices, there, {})
    sides = [Side(one, pd.DataFrame(index=one.index)) for one in (there, here)]
    parts = examine_slices(slices, sides[0], sides[1], [*NAMES, "country"], Rules())
    answers = iter(answered([one.tests for one in parts if one.tests is not None], Rules()))
    return [judged(one, None if one.tests is None else next(answers), Rules()) for one in parts]


def test_slices_are_values_or_ranges() -> None:
    """A column's name takes its most frequent values, or ranges at the reference's quantiles; values may be named."""
    there = pd.DataFrame({"country": ["FR"] * 3 + ["DE"] * 2 + [None], "age": [1.0, 2.0, 3.0, 4.0, 5.0, None]})
    policy = DriftPolicy.model_validate(
        {"slices": ["country", {"column": "country", "values": ["DE", "XX"]}, {"column": "age", "bins": 2}]}
    )
    found = [part for part, _ in slices_of(policy.slices, there, {})]
    assert [one.name for one in found] == ["country = FR", "country = DE", "country = XX", "age ≤ 3", "age > 3"]
    inside = [rows_in(one, there[one.column]).sum() for one in found]
    assert inside == [3, 2, 0, 3, 2], "what is missing is in no slice"


def test_values_of_a_hashed_column_are_named_by_their_hashes() -> None:
    """Policy names the value, report and log have its hash."""
    policy = DriftPolicy.model_validate({"slices": [{"column": "mail", "values": ["a@example.org"]}]})
    [(part, _)] = slices_of(policy.slices, pd.DataFrame({"mail": ["#1"]}), {"mail": lambda _: "#1"})
    assert (part.name, list(rows_in(part, pd.Series(["#1", "#2"])))) == ("mail = #1", [True, False])


def test_drift_of_one_slice_is_found_where_the_whole_hides_it() -> None:
    """A tenth of the rows moves by a standard deviation: a tenth of it in the whole."""
    there, here = rows(1), rows(2)
    here.loc[here["country"] == "DE", "n3"] += 1.0
    found = {one.value: one for one in reports(DriftPolicy.model_validate({"slices": ["country"]}), there, here)}
    assert {value for value, one in found.items() if one.verdict is DriftVerdict.DRIFT} == {"DE"}
    assert [one.column for one in found["DE"].columns if one.drifted] == ["n3"]
    assert "country" not in {one.column for one in found["DE"].columns}, "it has one value in its own slice"
    assert words(list(found.values())) == ("1 of 4 slices drifted (country = DE: 1 of 10 input columns drifted (n3))")
    assert {one.verdict for value, one in found.items() if value != "DE"} == {DriftVerdict.OK}


def test_slices_without_drift_raise_no_alarm() -> None:
    """Twelve slices of ten columns each, sixteen windows: 120 columns are one family a window, and none drifts."""
    policy = DriftPolicy.model_validate({"slices": ["country", "n0", {"column": "n1", "bins": 4}]})
    alarms = 0
    for seed in range(16):
        found = reports(policy, rows(1_000 + seed, 3_000), rows(2_000 + seed, 3_000))
        assert len(found) == 12
        alarms += any(one.verdict is DriftVerdict.DRIFT for one in found)
    assert alarms <= 1


def test_small_slices_and_those_of_no_column_are_inconclusive() -> None:
    """With the reason; they are tested for nothing, and cost the others nothing."""
    policy = DriftPolicy.model_validate(
        {"slices": [{"column": "country", "values": ["DE"], "minimum_rows": 5_000}, "nowhere"]}
    )
    small, missing = reports(policy, rows(1), rows(2))
    assert small.verdict is missing.verdict is DriftVerdict.INCONCLUSIVE
    assert "5000 are needed" in small.reason
    assert missing.reason == "the reference has no column nowhere"


def test_what_is_no_slice_is_refused() -> None:
    """Unknown keys and too many values."""
    with pytest.raises(ValueError, match="valuse"):
        DriftPolicy.model_validate({"slices": [{"column": "country", "valuse": ["DE"]}]})
    with pytest.raises(ValueError, match="at most 50"):
        DriftPolicy.model_validate({"slices": [{"column": "country", "values": list(range(51))}]})
