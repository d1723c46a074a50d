"""A promotion's story in plain sentences, and what remains of the time it has. Pure: what is told comes as arguments.

How a terminal shows it: `commands/explain.py`, `commands/watching.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlflow_ext.domain.approval import Approval, Requirement, requirement
from mlflow_ext.domain.gates import GateReport, GateResult, Importance, Verdict
from mlflow_ext.domain.promotion import Promotion, PromotionEvent, PromotionState

_SOURCES = {
    "registry": "because the version was marked Staging in MLflow's registry",
    "cli": "on the command line",
    "api": "from Python",
    "rest": "over REST",
    "retraining": "after a retraining",
    "withdrawal": "because the version in Production was withdrawn, and its own gates had grown old",
}
_VERDICTS = {
    Verdict.PASSED: "passed",
    Verdict.FAILED: "failed",
    Verdict.INCONCLUSIVE: "could not say yes or no",
    Verdict.ERROR: "could not be computed",
}


@dataclass(frozen=True, slots=True)
class Told:
    """A promotion with everything that is told about it.

    Attributes:
        promotion: The promotion.
        story: Its steps, oldest first: `at`, `event`, `state`, `note`.
        approvals: The words of people that count.
        timeout_s: Seconds that its policy gives to an evaluation.
    """

    promotion: Promotion
    story: Sequence[Mapping[str, Any]] = ()
    approvals: Sequence[Approval] = ()
    timeout_s: float | None = None

    @property
    def report(self) -> GateReport | None:
        """What the gates said, once they have."""
        report = self.promotion.report
        return GateReport.from_dict(report) if report and "results" in report else None

    @property
    def needs(self) -> Requirement:
        """How many people it waits for."""
        return requirement(self.promotion.report)


def explain(told: Told, now: datetime) -> list[str]:
    """Tell a promotion's story, one sentence or short paragraph each."""
    one = told.promotion
    sentences = [
        _beginning(one),
        *_tries(told),
        *_gates(told),
        *_people(told),
        *_end(told),
        f"What happens next: {_remaining(told, now)}{one.next_step}.",
        *_evidence(one),
    ]
    # notes and reasons may bring their own full stop
    return [sentence.rstrip(". ") + "." for sentence in sentences]


def time_left(told: Told, now: datetime) -> str | None:
    """Say how long a step may still take, or has been waiting; `None` for what has ended."""
    one = told.promotion
    last = next((step for step in reversed(told.story) if step["event"] == PromotionEvent.CLAIM), None)
    if one.state is PromotionState.EVALUATING and last is not None:
        if told.story[-1]["event"] != PromotionEvent.CLAIM:
            return f"waiting for {_span((now - told.story[-1]['at']).total_seconds())} to try again"
        spent_s = (now - last["at"]).total_seconds()
        if told.timeout_s is None:
            return f"{_span(spent_s)} so far"
        return f"{_span(spent_s)} so far, {_span(max(0.0, told.timeout_s - spent_s))} left"
    if one.state.is_open and one.updated_at is not None:
        return f"for {_span((now - one.updated_at).total_seconds())}"
    return None


def _beginning(one: Promotion) -> str:
    by = f" by {one.requested_by}" if one.requested_by else ""
    how = _SOURCES.get(one.source, f"by {one.source}")
    what = "was to be tried (a dry run, which changes nothing)" if one.dry_run else "was to go to Production"
    asked = f"asked for{by} {how}" if by or one.source in {"cli", "api", "rest"} else f"opened {how}"
    return f"Version {one.version} of {one.model} {what}: promotion {one.id} was {asked}{_at(one.created_at)}."


def _tries(told: Told) -> list[str]:
    claims = [step for step in told.story if step["event"] == PromotionEvent.CLAIM]
    sentences = []
    if not claims and told.promotion.state is PromotionState.REQUESTED:
        sentences.append("No worker has taken it yet.")
    if len(claims) > 1:
        sentences.append(f"Workers took it {len(claims)} times; each went on from the last step that was complete.")
    known = {event.value for event in PromotionEvent} | {"requested"}
    troubles = [step for step in told.story if step["event"] not in known and step["event"] != "let_go"]
    sentences += [f"It was put off{_at(step['at'])}: {step['note']}." for step in troubles]
    anew = [step for step in told.story if step["event"] == PromotionEvent.COMPARE_ANEW]
    return sentences + [f"It was sent back to its gates{_at(step['at'])}: {step['note']}." for step in anew]


def _gates(told: Told) -> list[str]:
    report = told.report
    if report is None:
        return []
    if report.failure:
        return [f"Its gates could not be computed: {report.failure}."]
    if not report.results:
        return ["The policy names no gates for this model, so nothing was measured."]
    against = (
        "nothing, because no version was in Production"
        if report.champion_version is None
        else f"version {report.champion_version}, which was in Production"
    )
    critical = [result for result in report.results if result.importance is Importance.CRITICAL]
    counts = [(sum(result.verdict is verdict for result in critical), word) for verdict, word in _VERDICTS.items()]
    counted = ", ".join(f"{count} {word}" for count, word in counts if count)
    sentences = [f"It was compared with {against}. Of {_many(len(critical), 'gate')} that decide, {counted}."]
    sentences += [_gate(result) for result in critical]
    shown = [result for result in report.results if result.importance is Importance.ADVISORY]
    return sentences + [f"{_gate(result)} This gate is advisory and decides nothing." for result in shown]


def _gate(result: GateResult) -> str:
    return f"The gate “{result.name}” {_VERDICTS[result.verdict]}: {result.reason}."


def _people(told: Told) -> list[str]:
    sentences = [
        f"{one.person} approved it{_at(one.at)}" + (f", saying “{one.comment}”." if one.comment else ".")
        for one in told.approvals
    ]
    if told.promotion.state is PromotionState.AWAITING_APPROVAL:
        needs, given = told.needs, len(told.approvals)
        but = ", none of them the author," if needs.four_eyes else ""
        sentences.append(
            f"It waits for {_many(needs.people, 'person', 'people')}{but} to approve it; {given} did so far."
        )
    return sentences


def _end(told: Told) -> list[str]:
    one = told.promotion
    if one.override_reason:
        return [f"A person sent it to Production past its gates, for this reason: {one.override_reason}.", *_last(one)]
    return _last(one)


def _last(one: Promotion) -> list[str]:
    words = {
        PromotionState.PROMOTED: "It went to Production",
        PromotionState.EVALUATED: "The dry run ended",
        PromotionState.REJECTED: "It was rejected",
        PromotionState.ABORTED: "It was aborted",
        PromotionState.FAILED: "It failed, which says nothing about the model",
        PromotionState.SUPERSEDED: "It was superseded by a person's change",
        PromotionState.ROLLED_BACK: "It was in Production and was rolled back",
    }
    said = words.get(one.state)
    return [] if said is None else [f"{said}{_at(one.updated_at)}: {one.reason}."]


def _remaining(told: Told, now: datetime) -> str:
    left = time_left(told, now)
    return f"({left}) " if left else ""


def _evidence(one: Promotion) -> list[str]:
    parts = [f"MLflow run {one.run_id} (gates.html)"] if one.run_id else []
    parts += [f"policy {one.policy_hash[:12]}"] if one.policy_hash else []
    parts.append(f"`mlflow-ext audit show {one.model} --version {one.version}`")
    return [f"Where it is written down: {', '.join(parts)}."]


def _at(when: datetime | None) -> str:
    return f" on {when:%Y-%m-%d at %H:%M:%S} UTC" if when else ""


def _many(count: int, one: str, several: str = "") -> str:
    return f"{count} {one}" if count == 1 else f"{count} {several or one + 's'}"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0, round(seconds))} s"
    if seconds < 7200:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
