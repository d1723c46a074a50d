"""The comparison gate: what it asks, what it decides, and when it does not decide."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.gates import judge
from mlflow_ext.gates.better_than_champion import BetterThanChampionPolicy, decide
from mlflow_ext.testing import MemoryContext, MemoryVersion

RNG = np.random.default_rng(3)
ROWS = pd.DataFrame({"signal": RNG.normal(size=600)})
ROWS["target"] = np.where(ROWS["signal"] + RNG.normal(scale=0.5, size=600) > 0, "yes", "no")
NOISE = RNG.normal(size=(2, 600))


def version(number: int, noise: float) -> MemoryVersion:
    """A classifier that sees the signal through so much noise."""

    def score(frame: pd.DataFrame) -> np.ndarray:
        return 1 / (1 + np.exp(-2 * (frame["signal"].to_numpy() + noise * NOISE[number % 2][: len(frame)])))

    return MemoryVersion(
        number,
        answer=lambda frame: np.where(score(frame) > 0.5, "yes", "no"),
        probabilities=lambda frame: np.column_stack([1 - score(frame), score(frame)]),
        classes=np.array(["no", "yes"]),
    )


def judged(candidate: float, champion: float | None, rows: pd.DataFrame = ROWS, **policy: object) -> GateResult:
    """Judge two such classifiers."""
    context = MemoryContext(version(2, candidate), rows, None if champion is None else version(1, champion))
    [result] = judge([BetterThanChampionPolicy.model_validate(policy)], context)
    assert result.picture is None or context.pictures[result.picture].startswith(b"\x89PNG")
    return result


METRICS = ["roc_auc", "accuracy_score", "f1_score", "log_loss", "brier_score", "sklearn.metrics:accuracy_score"]
METHODS = {"roc_auc": "delong", "accuracy_score": "mcnemar", "log_loss": "bootstrap"}


@pytest.mark.parametrize("metric", METRICS)
def test_a_clear_difference_is_seen_in_both_directions(metric: str) -> None:
    """Much better passes, much worse fails, by every method; each result has its interval, numbers and picture."""
    draws = 100 if ":" in metric else 1_000
    better = judged(0.1, 2.0, metric=metric, resamples=draws, method=METHODS.get(metric, "auto"))
    worse = judged(2.0, 0.1, metric=metric, resamples=draws)
    assert (better.verdict, worse.verdict) == (Verdict.PASSED, Verdict.FAILED)
    assert better.interval is not None
    assert better.interval[0] < better.details["difference"] < better.interval[1]
    assert better.sample_size == 600
    assert better.picture == f"gates/better_than_champion {metric}.png"
    assert "version 1 in Production" in better.reason
    assert better.details["method"].startswith(
        {"roc_auc": "DeLong", "accuracy_score": "McNemar"}.get(metric, "paired bootstrap")
    )


def test_what_cannot_be_told_apart_waits_for_a_person_or_fails_as_the_policy_says() -> None:
    """An interval around the bound is no answer."""
    open_, closed = judged(1.0, 1.0), judged(1.0, 1.0, undecided="failed")
    assert (open_.verdict, closed.verdict) == (Verdict.INCONCLUSIVE, Verdict.FAILED)
    assert "holds +0" in open_.reason


def test_not_worse_needs_less_than_better() -> None:
    """Within the margin is good enough, and the same model again is certainly not worse."""
    near = judged(1.0, 1.0, ask="non_inferior", margin=0.1)
    assert (near.verdict, near.bound) == (Verdict.PASSED, pytest.approx((near.champion or 0) - 0.1))
    same = MemoryContext(version(1, 0.5), ROWS, version(1, 0.5))
    [result] = judge([BetterThanChampionPolicy(ask="non_inferior", margin=0.001)], same)
    assert (result.verdict, result.interval) == (Verdict.PASSED, (0, 0))
    [result] = judge([BetterThanChampionPolicy(metric="log_loss")], same)
    assert result.verdict is Verdict.FAILED


def test_too_little_to_judge_by_is_inconclusive() -> None:
    """Fewer rows than the policy asks for, or one row of a class: no verdict, and the reason says what is missing."""
    few = judged(0.1, 2.0, ROWS.head(50))
    assert (few.verdict, "50 evaluation rows are too few" in few.reason) == (Verdict.INCONCLUSIVE, True)
    lonely = ROWS.assign(target=["yes"] + ["no"] * 599)
    assert judged(0.1, 2.0, lonely).verdict is Verdict.INCONCLUSIVE


def test_without_a_champion_it_passes_and_says_so() -> None:
    """A first version has nothing to be better than."""
    first = judged(0.1, None)
    assert (first.verdict, "no version in Production" in first.reason) == (Verdict.PASSED, True)


def test_what_cannot_be_computed_is_an_error_in_words() -> None:
    """Unknown metrics list the known ones; a model without probabilities, or three classes, say so."""
    assert "known are accuracy_score" in judged(0.1, 2.0, metric="auc").reason
    plain = MemoryContext(MemoryVersion(2), ROWS, version(1, 1.0))
    [result] = judge([BetterThanChampionPolicy()], plain)
    assert (result.verdict, "gives no class probabilities" in result.reason) == (Verdict.ERROR, True)
    three = ROWS.assign(target=["a", "b", "c"] * 200)
    assert "the target has 3 classes" in judged(0.1, 2.0, three).reason


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_superior_is_harder_than_non_inferior(low: float, width: float, margin: float) -> None:
    """Whatever the interval, what is superior by a margin is not inferior by it; a failure is never undecided."""
    superior = BetterThanChampionPolicy(margin=margin)
    order = [Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED]
    first, _ = decide((low, low + width), margin, superior)
    second, _ = decide((low, low + width), -margin, superior)
    assert order.index(first) <= order.index(second)
    assert (first is Verdict.PASSED) == (low > margin)
    assert (first is Verdict.FAILED) == (low + width <= margin)


@pytest.mark.parametrize(
    "section",
    [{"ask": "non_inferior"}, {"method": "delong", "metric": "f1_score"}, {"margin": -1}, {"confidence": 1}],
)
def test_what_makes_no_sense_is_a_mistake_in_the_policy(section: dict[str, object]) -> None:
    """It is refused when the policy is read, not when a version waits."""
    with pytest.raises(ValidationError):
        BetterThanChampionPolicy.model_validate(section)
