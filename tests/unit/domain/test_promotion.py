"""The promotion's state machine: what must hold for every sequence of events."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext.domain.gates import GateReport, GateResult, Verdict
from mlflow_ext.domain.promotion import (
    OPEN_STATES,
    TRANSITIONS,
    PromotionEvent,
    PromotionState,
    conclusion,
    next_state,
)
from mlflow_ext.errors import IllegalTransitionError
from mlflow_ext.store.tables import promotion as table

events = st.lists(st.sampled_from(PromotionEvent), max_size=30)


def walk(steps: list[PromotionEvent]) -> list[PromotionState]:
    """Apply events from the start, leaving out those that the state refuses."""
    states = [PromotionState.REQUESTED]
    for step in steps:
        try:
            states.append(next_state(states[-1], step))
        except IllegalTransitionError:
            continue
    return states


@given(events)
def test_only_a_rollback_leaves_an_end(steps: list[PromotionEvent]) -> None:
    """A promotion that ended stays ended, except that what was promoted can be rolled back."""
    states = walk(steps)
    for before, after in pairwise(states):
        if not before.is_open:
            assert (before, after) == (PromotionState.PROMOTED, PromotionState.ROLLED_BACK)


@given(events)
def test_nothing_is_promoted_past_the_gates(steps: list[PromotionEvent]) -> None:
    """Promoted comes only after rolling out, which comes only after the gates, a person's approval or an override."""
    states = walk(steps)
    if PromotionState.PROMOTED in states:
        before = states[: states.index(PromotionState.PROMOTED)]
        assert before[-1] is PromotionState.ROLLING_OUT
        assert PromotionState.EVALUATING in before or PromotionEvent.OVERRIDE in steps


@given(events)
def test_a_dry_run_never_reaches_production(steps: list[PromotionEvent]) -> None:
    """Once a dry run has ended, no event brings it on."""
    states = walk([PromotionEvent.CLAIM, PromotionEvent.DRY_RUN_ENDED, *steps])
    assert states[2:] == [PromotionState.EVALUATED]


@pytest.mark.parametrize("state", sorted(OPEN_STATES))
def test_every_open_state_can_be_ended(state: PromotionState) -> None:
    """A person's hand and a failure end every open promotion."""
    assert next_state(state, PromotionEvent.SUPERSEDE) is PromotionState.SUPERSEDED
    assert next_state(state, PromotionEvent.FAIL) is PromotionState.FAILED


def test_every_state_can_be_reached() -> None:
    """No state is without a way into it, and each refused step says what it is."""
    assert {PromotionState.REQUESTED, *TRANSITIONS.values()} == set(PromotionState)
    with pytest.raises(IllegalTransitionError, match="promotion that is rejected cannot take the step 'published'"):
        next_state(PromotionState.REJECTED, PromotionEvent.PUBLISHED)


def test_the_tables_rule_and_the_domain_name_the_same_open_states() -> None:
    """The unique index on open promotions counts exactly the states that the domain calls open."""
    index = next(index for index in table.indexes if index.name == "one_open_promotion")
    condition = str(index.dialect_options["postgresql"]["where"])
    assert {state for state in PromotionState if f"'{state.value}'" in condition} == set(OPEN_STATES)


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_each_verdict_leads_on_from_evaluating(verdict: Verdict, *, dry_run: bool) -> None:
    """Whatever the gates say, there is a step for it; a dry run's can never lead to rolling out."""
    state = next_state(PromotionState.EVALUATING, conclusion(verdict, dry_run=dry_run))
    assert state is not PromotionState.EVALUATING
    assert not (dry_run and state.is_open)


@given(st.lists(st.sampled_from(Verdict), max_size=5))
def test_a_report_survives_being_stored(verdicts: list[Verdict]) -> None:
    """What is read back says the same; error outranks failure outranks doubt; no gate is doubt."""
    results = tuple(GateResult("metric", f"g{i}", verdict, f"because {i}") for i, verdict in enumerate(verdicts))
    report = GateReport(results, champion_version=2, evidence_run_id="r", details={"candidate": {"auc": 0.5}})
    assert GateReport.from_dict(report.as_dict()) == report
    order = [Verdict.ERROR, Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED]
    expected = min(verdicts, key=order.index) if verdicts else Verdict.INCONCLUSIVE
    assert report.verdict is expected
