"""The behaviour gate: what changes for clients, in answers, numbers and costs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.errors import EvaluationImpossibleError
from mlflow_ext.gate_context import LoggedRequests
from mlflow_ext.gates import judge
from mlflow_ext.gates.behaviour import BehaviourPolicy, compare, costs
from mlflow_ext.testing import MemoryContext, MemoryRequests, MemoryVersion

ROWS = pd.DataFrame({"target": [0, 1]})
SENT = pd.DataFrame({"x": np.arange(200) / 200})


def logged(inputs: pd.DataFrame = SENT, answers: Any = None, version: int = 1) -> LoggedRequests:
    """Requests of one row each, newest first."""
    meta = pd.DataFrame(
        {
            "request_id": [f"r{n}" for n in range(len(inputs))],
            "row": 0,
            "at": [datetime(2026, 3, 1, tzinfo=UTC) - timedelta(seconds=n) for n in range(len(inputs))],
            "version": version,
        }
    )
    return LoggedRequests(meta, inputs, pd.DataFrame({"prediction": inputs["x"] if answers is None else answers}))


def classifier(number: int, threshold: float) -> MemoryVersion:
    """Says yes above a threshold, with x as its probability."""
    return MemoryVersion(
        number,
        answer=lambda frame: np.where(frame["x"] > threshold, "yes", "no"),
        probabilities=lambda frame: np.column_stack([1 - frame["x"] ** threshold, frame["x"] ** threshold]),
        classes=np.array(["no", "yes"]),
    )


def judged(
    candidate: MemoryVersion, champion: MemoryVersion | None, requests: LoggedRequests | None = None, **policy: Any
) -> tuple[list[GateResult], MemoryContext]:
    """Replay logged requests through both."""
    kind: Any = policy.pop("model_type", "classifier")
    context = MemoryContext(candidate, ROWS, champion, model_type=kind, logged=requests or logged())
    return list(judge([BehaviourPolicy.model_validate(policy)], context)), context


def test_labels_probabilities_and_costs_of_a_classifier() -> None:
    """A threshold moved from 0.5 to 0.6 changes a tenth of the answers, all from yes to no."""
    [agreement, change, cost], context = judged(
        *(classifier(2, 0.6), classifier(1, 0.5)),
        min_agreement=0.95,
        max_change=0.1,
        costs={"yes": {"no": 5}},
        max_cost=0.4,
    )
    assert (agreement.verdict, agreement.measured) == (Verdict.FAILED, 0.9)
    assert agreement.interval is not None
    assert agreement.interval[0] < 0.9 < agreement.interval[1]
    assert (change.verdict, cost.verdict, cost.measured) == (Verdict.PASSED, Verdict.FAILED, 0.5)
    assert agreement.sample_size == 200
    assert agreement.details["change"]["max"] == pytest.approx(change.details["change"]["max"])
    assert agreement.details["agreement"] == 0.9
    [table] = context.tables.values()
    assert len(table) == 20
    assert set(table["production"] + table["candidate"]) == {"yesno"}
    assert {"request_id", "at", "input.x", "change"} <= set(table.columns)
    assert agreement.picture in context.pictures


def test_numbers_of_a_regressor() -> None:
    """Quantiles of the change are in the target's unit; a tolerance makes numbers the same."""

    def version(number: int, shift: float) -> MemoryVersion:
        return MemoryVersion(number, answer=lambda frame: (frame["x"] * (1 + shift)).to_numpy())

    [agreement, change], _ = judged(
        *(version(2, 0.1), version(1, 0.0)),
        model_type="regressor",
        min_agreement=0.4,
        tolerance=0.05,
        max_change=0.0901,
        quantile=0.9,
    )
    assert (agreement.verdict, agreement.measured) == (Verdict.PASSED, pytest.approx(0.505, abs=0.006))
    assert (change.verdict, change.measured) == (Verdict.PASSED, pytest.approx(0.09, abs=0.001))
    assert change.details["as_logged"] == 1.0
    same, context = judged(version(2, 0), version(1, 0), model_type="regressor", max_change=0, quantile=1)
    assert (same[0].verdict, context.tables) == (Verdict.PASSED, {})


def test_a_candidate_that_cannot_answer_what_clients_send_fails() -> None:
    """That is no fault of the evaluation; a champion that cannot is one."""

    def refuse(frame: pd.DataFrame) -> Any:
        raise EvaluationImpossibleError("lacks columns: y")

    [failed], _ = judged(MemoryVersion(2, answer=refuse), classifier(1, 0.5), min_agreement=0.9)
    assert (failed.verdict, "cannot answer what clients send: lacks columns: y" in failed.reason) == (
        *(Verdict.FAILED, True),
    )
    [error], _ = judged(classifier(2, 0.5), MemoryVersion(1, answer=refuse), min_agreement=0.9)
    assert error.verdict is Verdict.ERROR


def test_too_little_to_replay() -> None:
    """Few rows and none are inconclusive; without Production nothing can change."""
    one, other = classifier(2, 0.5), classifier(1, 0.5)
    [few], _ = judged(one, other, logged(SENT.head(5)), min_agreement=0.9)
    assert (few.verdict, "5 logged rows are too few" in few.reason) == (Verdict.INCONCLUSIVE, True)
    [first], _ = judged(one, None, min_agreement=0.9)
    assert first.verdict is Verdict.PASSED
    [none] = judge([BehaviourPolicy(min_agreement=0.9)], MemoryContext(one, ROWS, other))
    assert none.verdict is Verdict.INCONCLUSIVE
    twin = MemoryRequests({"wine": logged()})
    assert len(twin.newest("wine", 7)) == 7


def test_a_replay_that_does_not_give_what_was_logged_says_so() -> None:
    """Half of the logged answers were others: the details tell how faithful the replay is."""
    answers = ["yes" if n % 2 else "no" for n in range(200)]
    [result], _ = judged(classifier(2, 0.5), classifier(1, 0.5), logged(answers=answers), min_agreement=0.9)
    assert result.details["as_logged"] == pytest.approx(0.5, abs=0.01)
    [other], _ = judged(classifier(2, 0.5), classifier(1, 0.5), logged(version=7), min_agreement=0.9)
    assert other.details["as_logged"] is None


labels = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30)


@given(labels)
def test_without_a_matrix_the_cost_is_the_share_of_other_answers(pairs: list[tuple[str, str]]) -> None:
    """Every change costs 1 unless the policy says otherwise, and the same answer never costs anything."""
    before, after = (np.array(side) for side in zip(*pairs, strict=True))
    policy = BehaviourPolicy(max_cost=1)
    found = compare(policy, before, after, None)
    assert costs(policy, found).mean() == pytest.approx(1 - found.agree.mean())
    dear = BehaviourPolicy(max_cost=1, costs={"a": {"a": 9, "b": 3}})
    assert costs(dear, found).sum() == pytest.approx(sum(3 if p == ("a", "b") else p[0] != p[1] for p in pairs))


@pytest.mark.parametrize("section", [{}, {"min_agreement": 2}, {"min_agreement": 0.9, "costs": {"a": {"b": 1}}}])
def test_a_policy_that_decides_nothing_is_a_mistake(section: dict[str, Any]) -> None:
    """It is refused when the policy is read."""
    with pytest.raises(ValidationError):
        BehaviourPolicy.model_validate(section)
