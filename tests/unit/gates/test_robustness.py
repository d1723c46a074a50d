"""The robustness gate on models whose weakness is known."""

import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.domain.signature import Column, Signature
from mlflow_ext.errors import EvaluationImpossibleError
from mlflow_ext.gates import judge
from mlflow_ext.gates.robustness import RobustnessPolicy
from mlflow_ext.gates.statistics import perturbations
from mlflow_ext.testing import MemoryContext, MemoryVersion

RNG = np.random.default_rng(4)
ROWS = pd.DataFrame({"x": RNG.normal(size=600), "calm": RNG.normal(size=600), "whole": RNG.integers(0, 9, 600)})
ROWS["target"] = (ROWS["x"] > 0).astype(int)
SIGNATURE = Signature((Column("x", "double"), Column("calm", "double"), Column("whole", "long")))


def by_sign(frame: pd.DataFrame) -> Any:
    """Says 1 where x is above 0; cannot say where it is missing."""
    if frame["x"].isna().any():
        raise EvaluationImpossibleError("x must not be missing")
    return (frame["x"].to_numpy() > 0).astype(int)


def context(answer: Any = by_sign, rows: pd.DataFrame = ROWS, **more: Any) -> MemoryContext:
    """A model on the rows."""
    return MemoryContext(MemoryVersion(2, answer=answer, signature=SIGNATURE), rows, **more)


def judged(where: MemoryContext, **policy: Any) -> list[GateResult]:
    """Let the gate judge, as a policy's gates do."""
    return list(judge([RobustnessPolicy.model_validate(policy)], where))


def test_noise_costs_what_it_must() -> None:
    """A step at 0 under noise of one deviation loses a quarter of its right answers (arctan(1)/pi); the curve grows."""
    where = context()
    [result] = judged(where, noise=1.0, max_noise_loss=0.1)
    assert result.verdict is Verdict.FAILED
    assert result.measured == pytest.approx(0.25, abs=0.03)
    assert result.interval is not None
    assert result.interval[0] > 0.1
    values = [point["accuracy_score"] for point in result.details["curve"]]
    assert [point["level"] for point in result.details["curve"]] == [0.0, 0.25, 0.5, 1.0, 2.0]
    assert values == sorted(values, reverse=True)
    assert where.pictures[result.picture or ""].startswith(b"\x89PNG")
    assert "accuracy_score goes from 1 to 0.7" in result.reason
    [small] = judged(context(), noise=0.01, max_noise_loss=0.05)
    assert small.verdict is Verdict.PASSED


def test_a_model_that_cannot_answer_missing_values_fails_with_its_words() -> None:
    """Clients will send such rows; a model that fills them loses what it loses, and whole numbers cannot be missing."""
    [result] = judged(context(), max_missing_loss=0.2)
    assert (result.verdict, "x must not be missing" in result.reason) == (Verdict.FAILED, True)

    def filled(frame: pd.DataFrame) -> Any:
        assert frame["whole"].dtype == "int64"
        return by_sign(frame.fillna({"x": 0.0}))

    [result] = judged(context(filled), missing=0.2, max_missing_loss=0.2)
    assert result.verdict is Verdict.PASSED
    assert result.measured == pytest.approx(0.1, abs=0.03)
    assert "all 2 columns" in result.reason


def test_the_column_on_which_all_depends_is_named() -> None:
    """Shuffled, x takes half of the answers with it; nobody misses the others."""
    [result] = judged(context(), max_permuted_loss=0.3)
    assert (result.verdict, result.measured) == (Verdict.FAILED, pytest.approx(0.5, abs=0.05))
    assert "shuffled values in x" in result.reason
    losses = result.details["loss_by_column"]
    assert (next(iter(losses)), losses["calm"], losses["whole"]) == ("x", 0.0, 0.0)


def test_out_of_range_answers_that_are_no_numbers_fail() -> None:
    """A regressor that overflows beyond what it has seen is worse than one that is wrong."""
    rows = ROWS.assign(target=np.exp(ROWS["x"]))

    def overflows(frame: pd.DataFrame) -> Any:
        return np.where(np.abs(frame["x"]) > 8, np.inf, np.exp(frame["x"]))

    where = context(overflows, rows, model_type="regressor")
    [result] = judged(where, max_out_of_range_loss=1.0)
    assert (result.verdict, "no number any more" in result.reason) == (Verdict.FAILED, True)
    flat = context(lambda frame: np.exp(frame["x"].clip(-3, 3)), rows, model_type="regressor")
    [result] = judged(flat, max_out_of_range_loss=1e6, out_of_range=0.5)
    assert (result.verdict, "mean_absolute_error goes from" in result.reason) == (Verdict.PASSED, True)


def test_a_loss_that_may_be_chance_decides_nothing() -> None:
    """The interval holds the bound: a person looks, unless the policy says otherwise; too few rows say nothing."""
    [known] = judged(context(), noise=1.0, max_noise_loss=0.9)
    bound = (known.measured or 0) - 0.005
    [open_] = judged(context(), noise=1.0, max_noise_loss=bound)
    [closed] = judged(context(), noise=1.0, max_noise_loss=bound, undecided="failed")
    assert (open_.verdict, closed.verdict) == (Verdict.INCONCLUSIVE, Verdict.FAILED)
    [few] = judged(context(rows=ROWS.head(99)), max_noise_loss=0.1)
    assert (few.verdict, "99 evaluation rows" in few.reason) == (Verdict.INCONCLUSIVE, True)


def test_nothing_to_perturb_is_nothing_to_lose() -> None:
    """A model of words alone has no numbers that could be noisy."""
    rows = pd.DataFrame({"word": ["yes", "no"] * 100, "target": [1, 0] * 100})
    version = MemoryVersion(2, answer=lambda frame: (frame["word"] == "yes").to_numpy().astype(int))
    results = judge([RobustnessPolicy(max_noise_loss=0, max_out_of_range_loss=0)], MemoryContext(version, rows))
    assert [one.verdict for one in results] == [Verdict.PASSED, Verdict.PASSED]
    [shuffled] = judge([RobustnessPolicy(max_permuted_loss=0.1)], MemoryContext(version, rows))
    assert shuffled.verdict is Verdict.FAILED


def test_an_attacker_turns_rows_that_lie_near_the_border() -> None:
    """Rows within ε of 0 are turned and no others: their share is known beforehand."""
    pytest.importorskip("art", reason="the extra robustness is not installed")
    rows = ROWS[["x", "target"]]
    where = MemoryContext(MemoryVersion(2, answer=by_sign, signature=Signature(SIGNATURE.inputs[:1])), rows)
    [result] = judged(where, evasion=0.5, max_evasion=0.1, evasion_rows=20)
    known = float((rows["x"].abs() < 0.5 * rows["x"].std(ddof=0)).mean())
    assert result.measured == pytest.approx(known, abs=0.25)
    assert (result.verdict, result.sample_size) == (Verdict.FAILED, 20)
    assert where.pictures[result.picture or ""].startswith(b"\x89PNG")


def test_evasion_that_cannot_be_tried_is_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers, regressors, and no toolbox: it says why, and claims nothing."""
    [whole] = judged(context(), max_evasion=0.1)
    assert (whole.verdict, "whole cannot be changed" in whole.reason) == (Verdict.INCONCLUSIVE, True)
    [numbers] = judged(context(model_type="regressor"), max_evasion=0.1)
    assert (numbers.verdict, "for classifiers" in numbers.reason) == (Verdict.INCONCLUSIVE, True)
    monkeypatch.setitem(sys.modules, "art.attacks.evasion", None)
    plain = MemoryContext(MemoryVersion(2, answer=by_sign), ROWS[["x", "target"]])
    [absent] = judged(plain, max_evasion=0.1)
    assert (absent.verdict, "mlflow-ext[robustness]" in absent.reason) == (Verdict.INCONCLUSIVE, True)


def test_a_policy_that_bounds_nothing_is_a_mistake() -> None:
    """It is refused when the policy is read."""
    with pytest.raises(ValidationError, match="needs max_noise_loss"):
        RobustnessPolicy()


@settings(max_examples=25, deadline=None)
@given(level=st.floats(0.01, 3.0), seed=st.integers(0, 9))
def test_perturbed_rows_keep_their_types_and_their_number(level: float, seed: int) -> None:
    """Whatever is done, signatures still hold; a seed gives the same rows again, and the rows given stay."""
    frame = pd.DataFrame(
        {
            "real": np.linspace(-1, 1, 20),
            "single": np.linspace(0, 1, 20, dtype=np.float32),
            "whole": np.arange(20),
            "byte": np.arange(20, dtype=np.int8),
            "large": np.full(20, 2**62),
            "word": list("ab") * 10,
        }
    )
    before = frame.copy()
    numbers = perturbations.numbers(frame)
    assert numbers == ["real", "single", "whole", "byte", "large"]
    share = min(level, 1.0)
    for done, at in [
        (perturbations.noise(numbers), level),
        (perturbations.missing(perturbations.can_be_missing(frame)), share),
        *((perturbations.permuted(name), share) for name in frame),
        *((perturbations.out_of_range(name), level) for name in numbers),
    ]:
        changed, again = (done.apply(frame, at, np.random.default_rng(seed)) for _ in range(2))
        pd.testing.assert_frame_equal(changed, again)
        assert (changed.dtypes == before.dtypes).all(), done.word
        assert len(changed) == len(frame)
    pd.testing.assert_frame_equal(frame, before)
