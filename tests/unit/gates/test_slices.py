"""The slices gate: the worst group is found, and chance is told from a loss."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.domain.signature import Column, Signature
from mlflow_ext.gates import judge
from mlflow_ext.gates.slices import SlicesPolicy
from mlflow_ext.testing import MemoryContext, MemoryVersion

RNG = np.random.default_rng(11)
COUNT = 3_000
ROWS = pd.DataFrame(
    {
        "region": RNG.choice(["north", "south", "west"], COUNT),
        "age": RNG.integers(18, 80, COUNT),
        "luck": RNG.random(COUNT),
        "target": RNG.integers(0, 2, COUNT),
    }
)
ROWS.loc[ROWS.index[:5], "region"] = "island"


def version(number: int, wrong: dict[str, float], otherwise: float = 0.1) -> MemoryVersion:
    """Answers so large a share of each region wrong."""

    def answer(frame: pd.DataFrame) -> np.ndarray:
        share = frame["region"].map(wrong).fillna(otherwise)
        return np.where(frame["luck"] < share, 1 - frame["target"], frame["target"])

    return MemoryVersion(number, answer=answer)


def judged(
    candidate: MemoryVersion, champion: MemoryVersion | None = None, rows: pd.DataFrame = ROWS, **policy: Any
) -> tuple[list[GateResult], MemoryContext]:
    """Judge groups of rows."""
    kind: Any = policy.pop("model_type", "classifier")
    context = MemoryContext(candidate, rows, champion, model_type=kind)
    return list(judge([SlicesPolicy.model_validate({"columns": ["region"], **policy})], context)), context


def test_the_worst_group_fails_and_is_named() -> None:
    """West is answered worse: against all rows, and against Production; small groups decide nothing."""
    [gap, loss], context = judged(
        version(2, {"west": 0.4, "island": 1.0}), version(1, {}), columns=["region", "age"], max_gap=0.05, max_loss=0.05
    )
    assert (gap.verdict, loss.verdict) == (Verdict.FAILED, Verdict.FAILED)
    assert "region west loses 0." in loss.reason
    assert (gap.details["group"], loss.details["column"]) == ("west", "region")
    assert gap.measured == pytest.approx(0.2, abs=0.05)
    assert loss.measured == pytest.approx(0.3, abs=0.05)
    assert loss.interval is not None
    assert loss.interval[0] < (loss.measured or 0) < loss.interval[1]
    table = context.tables["gates/slices.csv"]
    assert set(table["column"]) == {"region", "age"}
    assert table.loc[table["group"] == "island", "decides"].tolist() == [False]
    assert len(table) == gap.details["number_of_groups"] == 8
    many, _ = judged(version(2, {}), rows=ROWS.assign(name=ROWS.index.map(str)), columns=["region", "name"], max_gap=1)
    assert (many[0].details["number_of_groups"], len(many[0].details["groups"])) == (105, 50)
    assert gap.picture in context.pictures


def test_what_may_be_chance_waits_for_a_person_or_fails_as_the_policy_says() -> None:
    """A gap just over the bound on few rows is no proof; equal groups pass."""
    few = ROWS.head(300)
    [open_], _ = judged(version(2, {"west": 0.2}), rows=few, max_gap=0.05)
    [closed], _ = judged(version(2, {"west": 0.2}), rows=few, max_gap=0.05, undecided="failed")
    assert (open_.verdict, closed.verdict) == (Verdict.INCONCLUSIVE, Verdict.FAILED)
    assert "may be chance" in open_.reason
    [alike], _ = judged(version(2, {}), max_gap=0.05)
    assert alike.verdict is Verdict.PASSED


def test_positive_answers_and_errors_are_compared_between_groups() -> None:
    """A model that says yes in the west only is as far from parity as can be."""
    yes = MemoryVersion(2, answer=lambda frame: (frame["region"] == "west").astype(int).to_numpy())
    [parity, odds], _ = judged(yes, max_parity_difference=0.1, max_odds_difference=0.1)
    assert (parity.verdict, parity.measured, parity.details["column"]) == (Verdict.FAILED, 1.0, "region")
    assert (odds.verdict, odds.measured) == (Verdict.FAILED, 1.0)
    [fair], _ = judged(version(2, {}), max_parity_difference=0.15)
    assert fair.verdict is Verdict.PASSED


def test_a_regressor_is_judged_by_its_errors() -> None:
    """Lower is better there: a larger error in one group is the gap."""
    off = MemoryVersion(2, answer=lambda frame: (frame["target"] + 2.0 * (frame["region"] == "south")).to_numpy())
    exact = MemoryVersion(1, answer=lambda frame: frame["target"].to_numpy(dtype=float))
    [gap, loss], _ = judged(off, exact, model_type="regressor", max_gap=0.5, max_loss=0.5)
    assert (gap.verdict, gap.details["group"], gap.measured) == (Verdict.FAILED, "south", pytest.approx(1.33, abs=0.05))
    assert (loss.verdict, loss.measured) == (Verdict.FAILED, 2.0)


def test_columns_may_be_combined() -> None:
    """`together` makes each combination a group."""
    rows = ROWS.assign(half=np.where(ROWS["age"] < 50, "young", "old"))
    _, context = judged(version(2, {}), rows=rows, columns=["region", "half"], together=True, max_gap=1)
    groups = context.tables["gates/slices.csv"]["group"].tolist()
    assert "west, young" in groups
    assert len([one for one in groups if "island" not in one]) == 6


def test_a_search_finds_the_rows_that_are_answered_worse() -> None:
    """Nobody named the region or the age: the tree does, and the half that it has not seen confirms it."""

    def answer(frame: pd.DataFrame) -> np.ndarray:
        weak = (frame["region"] == "west") & (frame["age"] > 50)
        return np.where(frame["luck"] < np.where(weak, 0.5, 0.05), 1 - frame["target"], frame["target"])

    rows = ROWS.assign(luck=RNG.random(COUNT))
    seen = Signature((Column("region", "string"), Column("age", "long")))
    [found], _ = judged(MemoryVersion(2, answer=answer, signature=seen), rows=rows, columns=[], max_weak_gap=0.1)
    assert (found.verdict, found.measured) == (Verdict.FAILED, pytest.approx(0.37, abs=0.08))
    assert "region is west" in found.details["rule"]
    assert "age > 50.5" in found.details["rule"]
    assert found.sample_size == pytest.approx(COUNT / 2 / 3 * 0.47, rel=0.2)
    even = MemoryVersion(2, answer=lambda frame: np.where(frame["luck"] < 0.1, 1 - frame["target"], frame["target"]))
    even.signature = seen
    [none], _ = judged(even, rows=rows, columns=[], max_weak_gap=0.1)
    assert none.verdict is Verdict.PASSED
    [no_mean], _ = judged(even, rows=rows, columns=[], metric="f1_score", max_weak_gap=0.1)
    assert (no_mean.verdict, "no mean of rows" in no_mean.reason) == (Verdict.ERROR, True)
    [few], _ = judged(even, rows=rows.head(30), columns=[], max_weak_gap=0.1)
    assert few.verdict is Verdict.INCONCLUSIVE


def test_what_cannot_be_judged() -> None:
    """Small groups are inconclusive, an unknown column is an error that lists them, a first version loses nothing."""
    [small], _ = judged(version(2, {}), rows=ROWS.head(40), max_gap=0.1)
    assert (small.verdict, "minimum_rows" in small.reason) == (Verdict.INCONCLUSIVE, True)
    [unknown], _ = judged(version(2, {}), columns=["sex"], max_gap=0.1)
    assert (unknown.verdict, "they have region, age" in unknown.reason) == (Verdict.ERROR, True)
    [first], _ = judged(version(2, {}), max_loss=0.1)
    assert (first.verdict, "no version in Production" in first.reason) == (Verdict.PASSED, True)
    [lonely], _ = judged(version(2, {}), rows=ROWS[ROWS["region"] == "west"], max_parity_difference=0.1)
    assert lonely.verdict is Verdict.INCONCLUSIVE
    with pytest.raises(ValidationError, match="needs max_gap"):
        SlicesPolicy(columns=("a",))
    with pytest.raises(ValidationError, match="columns: name those"):
        SlicesPolicy(max_gap=0.1)
