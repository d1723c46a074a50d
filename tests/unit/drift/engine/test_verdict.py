"""The verdict: two keys, a family of columns, windows that are too small; and how often it errs."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.engine.comparison import Comparison, compare, corrected
from drift.engine.rules import Rules
from drift.engine.verdict import decide, rows_needed
from mlflow_ext.domain.drift import ColumnDrift, DriftVerdict
from tests.unit.drift.engine.tables import counted, profiled, ten_columns


def column(name: str, drifted: bool, *, kind: str = "data", compared: bool = True) -> ColumnDrift:
    """A column."""
    return ColumnDrift(name, kind, "ks" if compared else "not_compared", 0.5 if compared else None, 0.1, drifted, "why")


def answer(columns: list[ColumnDrift], **rules: Any) -> tuple[DriftVerdict, float | None, str]:
    """Decide about columns of a large window."""
    return decide(Comparison(tuple(columns), len(columns)), Rules(**rules), window_rows=10_000, reference_rows=10_000)


def drifted(reference: dict[str, Any], window: dict[str, Any], **rules: Any) -> list[str]:
    """Names of the drifted columns."""
    profile = profiled(reference)
    found = compare(profile, counted(profile, window), Rules(**rules))
    return [one.column for one in found.columns if one.drifted]


@pytest.mark.parametrize(
    ("drifting", "of", "share", "verdict"),
    [(0, 10, 0.0, "ok"), (1, 10, 0.0, "drift"), (2, 10, 0.3, "ok"), (3, 10, 0.3, "drift")],
)
def test_the_share_of_drifted_inputs_decides(drifting: int, of: int, share: float, verdict: str) -> None:
    """From the policy's share on it is drift, below it is not; without a share one column is enough."""
    columns = [column(f"c{number}", number < drifting) for number in range(of)]
    assert answer(columns, drift_share=share)[:2] == (verdict, drifting / of)


def test_columns_weigh_what_the_policy_says() -> None:
    """One heavy column outweighs two light ones; a weight of 0 leaves a column out of the rule."""
    columns = [column("heavy", True), column("light", False), column("other", False)]
    assert answer(columns, drift_share=0.5)[0] == "ok"
    assert answer(columns, drift_share=0.5, weights={"heavy": 2.0})[:2] == ("drift", 0.5)
    assert answer(columns, weights={"heavy": 0.0})[:2] == ("ok", 0.0)


def test_a_drifted_prediction_is_drift() -> None:
    """Whatever the inputs do."""
    columns = [column("a", False), column("prediction", True, kind="prediction")]
    assert answer(columns) == (DriftVerdict.DRIFT, 0.0, "0 of 1 input columns drifted; prediction drifted")


def test_nothing_to_compare_is_inconclusive() -> None:
    """And the reason names the columns."""
    verdict, share, reason = answer([column("a", False, compared=False)])
    assert (verdict, share) == (DriftVerdict.INCONCLUSIVE, None)
    assert "a: why" in reason


def test_a_window_too_small_for_the_stated_power_is_inconclusive() -> None:
    """Unless it shows drift all the same; the reason says how many rows are needed."""
    rules, calm = Rules(), Comparison((column("a", False),), 10)
    needed = rows_needed(20_000, 10, rules)
    assert needed == 103
    found = decide(calm, rules, window_rows=102, reference_rows=20_000)
    assert (found[0], "103 are needed" in found[2]) == (DriftVerdict.INCONCLUSIVE, True)
    assert decide(calm, rules, window_rows=103, reference_rows=20_000)[0] is DriftVerdict.OK
    assert decide(calm, rules, window_rows=10**6, reference_rows=50)[0] is DriftVerdict.INCONCLUSIVE
    small = Comparison((column("a", True),), 10)
    assert decide(small, rules, window_rows=60, reference_rows=20_000)[0] is DriftVerdict.DRIFT


@pytest.mark.parametrize("side", ["reference", "window"])
def test_one_outlier_of_a_million_changes_no_verdict(side: str) -> None:
    """Neither hides a shift nor makes one up, on whichever side it is."""
    rng = np.random.default_rng(2)
    for shift, found in ((0.0, []), (0.3, ["c0"])):
        both = {"reference": ten_columns(rng, 5_000), "window": ten_columns(rng, 2_000, shift=shift)}
        for name in ("c0", "c1", "c6"):
            both[side][name][7] = 1e6
        assert drifted(both["reference"], both["window"]) == found


def test_a_huge_window_does_not_page_for_a_trifle() -> None:
    """A shift of a hundredth of a standard deviation is sure with 400,000 rows, and no drift."""
    rng = np.random.default_rng(3)
    reference, window = {"c": rng.normal(size=400_000)}, {"c": rng.normal(0.02, 1, 400_000)}
    assert drifted(reference, window) == []
    assert drifted(reference, window, least_effect=0.001) == ["c"]


def test_missing_values_are_drift() -> None:
    """Their share is compared whatever the values are; all of them missing is drift, too."""
    rng = np.random.default_rng(4)
    values = rng.normal(size=4_000)
    some = np.where(rng.random(1_000) < 0.1, np.nan, values[:1_000])
    profile = profiled({"c": values})
    for window, told in ((some, "10% missing"), (np.full(500, np.nan), "100% missing")):
        [one] = compare(profile, counted(profile, {"c": window}), Rules()).columns
        assert (one.drifted, one.method) == (True, "missing_share")
        assert told.removesuffix("10% missing") in one.note


def test_a_column_that_cannot_be_compared_is_named() -> None:
    """Times, identifiers, columns that the reference lacks: each with its reason, and no other column pays."""
    rng = np.random.default_rng(6)
    reference = {"n": rng.normal(size=500), "id": [f"u{i}" for i in range(500)], "t": np.arange(500).astype("M8[s]")}
    profile = profiled(reference)
    found = compare(profile, counted(profile, {**reference, "extra": np.ones(500)}), Rules()).columns
    notes = {one.column: one.note for one in found if not one.compared}
    assert set(notes) == {"id", "t", "extra"}
    assert "identifier" in notes["id"]
    assert [one.column for one in found if one.compared] == ["n"]


def test_numbers_that_became_text_are_told() -> None:
    """Text that reads as numbers is numbers; other text counts as missing, and the note says how many."""
    rng = np.random.default_rng(7)
    values = rng.normal(size=2_000)
    profile = profiled({"c": values})
    [one] = compare(profile, counted(profile, {"c": values.astype(str)}), Rules()).columns
    assert not one.drifted
    [one] = compare(profile, counted(profile, {"c": ["high"] * 500 + ["1.5"] * 500}), Rules()).columns
    assert one.drifted
    assert "500 values are no numbers" in one.note


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_corrections_keep_order_and_never_sharpen(p_values: list[float]) -> None:
    """Holm is at least as strict as Benjamini and Hochberg, which is at least as strict as nothing."""
    holm, fdr = corrected(p_values, "holm"), corrected(p_values, "fdr")
    for raw, strict, lenient in zip(p_values, holm, fdr, strict=True):
        assert raw <= lenient + 1e-12
        assert lenient <= strict + 1e-12
        assert strict <= 1
    assert sorted(range(len(holm)), key=lambda i: (p_values[i], i)) == sorted(
        range(len(holm)), key=lambda i: (holm[i], p_values[i], i)
    )


@pytest.mark.parametrize(("n", "m"), [(300, 300), (1_000, 1_000), (5_000, 50), (5_000, 200)])
def test_windows_without_drift_raise_no_alarm(n: int, m: int) -> None:
    """At most 1 of 30 windows of ten columns, on data made here; the sweep is in test_calibration.py."""
    rng = np.random.default_rng([n, m, 1])
    alarms = sum(bool(drifted(ten_columns(rng, n), ten_columns(rng, m))) for _ in range(30))
    assert alarms <= 1


@pytest.mark.parametrize(("n", "m", "shift"), [(20_000, 1_000, 0.2), (1_000, 1_000, 0.3)])
def test_a_shift_of_one_of_ten_columns_is_found(n: int, m: int, shift: float) -> None:
    """In at least 18 of 20 windows; the sweep is in test_calibration.py."""
    rng = np.random.default_rng([n, m, 2])
    found = sum("c0" in drifted(ten_columns(rng, n), ten_columns(rng, m, shift=shift)) for _ in range(20))
    assert found >= 18
