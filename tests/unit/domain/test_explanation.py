"""A promotion's story in plain sentences, and the time it has left."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext.domain.approval import Approval
from mlflow_ext.domain.explanation import Told, explain, time_left
from mlflow_ext.domain.gates import GateReport, GateResult, Importance, Verdict
from mlflow_ext.domain.promotion import Promotion, PromotionState

AT = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)
REPORT = GateReport(
    (
        GateResult("metric", "roc_auc ≥ 0.7", Verdict.PASSED, "roc_auc is 0.84 and must be at least 0.7"),
        GateResult("slices", "worst group", Verdict.FAILED, "it loses 0.1", importance=Importance.ADVISORY),
        GateResult(
            "approval",
            "two people agree, not the author",
            Verdict.INCONCLUSIVE,
            "the policy asks that two people agree, not the author",
            details={"people": 2, "four_eyes": True},
        ),
    ),
    champion_version=4,
)
ONE = Promotion(
    id=12,
    model="wine",
    version=5,
    state=PromotionState.AWAITING_APPROVAL,
    source="rest",
    requested_by="rest:alice",
    report=REPORT.as_dict(),
    run_id="r1",
    policy_hash="a" * 64,
    created_at=AT,
    updated_at=AT + timedelta(minutes=1),
)


def step(event: str, seconds: float, note: str = "") -> dict[str, Any]:
    """A line of the story."""
    return {"at": AT + timedelta(seconds=seconds), "event": event, "state": "", "note": note}


STORY = (step("requested", 0), step("claim", 1), step("retry", 2, "MLflow does not answer."), step("claim", 4))


def test_a_promotion_that_waits_for_a_second_person() -> None:
    """Who asked, what was compared, every gate, who approved, what is missing, where it is written."""
    told = Told(ONE, STORY, [Approval("bob", "rest:bob", "fine", AT + timedelta(minutes=2))])
    text = "\n".join(explain(told, AT + timedelta(hours=3)))
    for part in (
        "Version 5 of wine was to go to Production: promotion 12 was asked for by rest:alice over REST on 2026-11-03",
        "Workers took it 2 times",
        "It was put off on 2026-11-03 at 12:00:02 UTC: MLflow does not answer.",
        "compared with version 4, which was in Production. Of 2 gates that decide, 1 passed, 1 could not say yes or no",
        "The gate “roc_auc ≥ 0.7” passed: roc_auc is 0.84 and must be at least 0.7.",
        "it loses 0.1. This gate is advisory and decides nothing.",
        "bob approved it on 2026-11-03 at 12:02:00 UTC, saying “fine”.",
        "It waits for 2 people, none of them the author, to approve it; 1 did so far.",
        "What happens next: (for 3 h) a person with the right says `mlflow-ext approve 12`",
        "MLflow run r1 (gates.html), policy aaaaaaaaaaaa, `mlflow-ext audit show wine --version 5`.",
    ):
        assert part in text
    assert ".." not in text


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"report": GateReport((), failure="no evaluation data.").as_dict()}, "could not be computed: no evaluation"),
        ({"report": GateReport(()).as_dict()}, "names no gates"),
        ({"state": PromotionState.FAILED, "reason": "no data"}, "It failed, which says nothing about the model"),
        ({"override_reason": "incident 7", "state": PromotionState.PROMOTED}, "past its gates, for this reason: incid"),
        ({"source": "registry", "requested_by": ""}, "was opened because the version was marked Staging"),
        ({"dry_run": True}, "a dry run, which changes nothing"),
        ({"champion_version": None, "report": replace(REPORT, champion_version=None).as_dict()}, "with nothing, becau"),
    ],
)
def test_other_turns_of_the_story(changes: dict[str, Any], part: str) -> None:
    """Each has its sentence."""
    assert part in "\n".join(explain(Told(replace(ONE, **changes), STORY), AT))


def test_one_that_was_compared_anew_says_why() -> None:
    """What another promotion had to do with it is told."""
    step = {"at": AT, "event": "compare_anew", "state": "requested", "note": "version 3 was first, by promotion 7"}
    assert "sent back to its gates on 2026-11-03 at 12:00:00 UTC: version 3 was first" in "\n".join(
        explain(Told(ONE, [*STORY, step]), AT)
    )


def test_the_time_that_is_left() -> None:
    """An evaluation counts down its policy's limit; one that was put off counts from then."""
    evaluating = replace(ONE, state=PromotionState.EVALUATING)
    now = AT + timedelta(seconds=34)
    assert time_left(Told(evaluating, STORY, timeout_s=600), now) == "30 s so far, 10 min left"
    assert time_left(Told(evaluating, STORY, timeout_s=10), now) == "30 s so far, 0 s left"
    assert time_left(Told(evaluating, STORY[:3]), now) == "waiting for 32 s to try again"
    assert time_left(Told(replace(ONE, state=PromotionState.PROMOTED), STORY), now) is None


@given(st.sampled_from(PromotionState), st.booleans(), st.booleans(), st.booleans())
def test_every_state_has_a_story(state: PromotionState, dry_run: bool, report: bool, story: bool) -> None:
    """Whatever a promotion has or lacks, it is told, each sentence ending once."""
    one = replace(ONE, state=state, dry_run=dry_run, report=REPORT.as_dict() if report else None, updated_at=None)
    sentences = explain(Told(one, STORY if story else ()), AT)
    assert all(sentence.endswith(".") and not sentence.endswith("..") for sentence in sentences)
    assert sum(sentence.startswith("What happens next: ") for sentence in sentences) == 1
