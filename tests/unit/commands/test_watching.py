"""What `promotions --watch` draws."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO

from rich.console import Console

from mlflow_ext.commands.watching import tree
from mlflow_ext.domain.approval import Approval
from mlflow_ext.domain.explanation import Told
from mlflow_ext.domain.gates import GateReport, GateResult, Importance, Verdict
from mlflow_ext.domain.promotion import Promotion, PromotionState

AT = datetime(2026, 11, 3, 12, 0, tzinfo=UTC)
REPORT = GateReport(
    (
        GateResult("metric", "roc_auc", Verdict.PASSED, "good", measured=0.84, bound=0.7, champion=0.83),
        GateResult("slices", "worst [group]", Verdict.FAILED, "bad", importance=Importance.ADVISORY),
    )
).as_dict()
STORY = [{"at": AT, "event": "claim", "state": "evaluating", "note": "taken by worker [one]"}]
ONE = Promotion(3, "wine", 5, PromotionState.EVALUATING, "cli", created_at=AT, updated_at=AT)


def drawn(*told: Told, worker_alive: bool = True) -> str:
    """Draw it as text."""
    console = Console(width=160, record=True, file=StringIO())
    models = {"wine": list(told)} if told else {}
    console.print(tree(models, {"wine": 4}, worker_alive=worker_alive, now=AT + timedelta(seconds=90)))
    return console.export_text()


def test_gates_steps_time_and_next_action() -> None:
    """Model, promotion with the time left, its steps; words in brackets stay as they are."""
    text = drawn(Told(ONE, STORY, timeout_s=600))
    for part in ("wine: version 4 in Production", "version 5 evaluating promotion 3 90 s so far, 8 min left"):
        assert part in text
    assert "12:00:00 claim taken by worker [one]" in text
    assert "next: the gates are being computed" in text


def test_what_waits_shows_numbers_and_who_approved() -> None:
    """Gates with their numbers, advisory ones marked, people counted."""
    waiting = replace(ONE, state=PromotionState.AWAITING_APPROVAL, report=REPORT)
    text = drawn(Told(waiting, STORY, [Approval("bob", "rest:bob")]), worker_alive=False)
    assert "passed roc_auc measured 0.84, Production 0.83, must reach 0.7" in text
    assert "failed (advisory) worst [group]" in text
    assert "approved by bob (1 of 1)" in text
    assert "no promotion worker is alive" in text


def test_what_ended_says_why_and_an_empty_registry_says_so() -> None:
    """The reason instead of the steps."""
    ended = replace(ONE, state=PromotionState.REJECTED, reason="roc_auc is 0.6")
    assert "roc_auc is 0.6" in drawn(Told(ended, STORY))
    assert "no registered model has versions yet" in drawn()
