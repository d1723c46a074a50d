"""Bring a claimed promotion to its end: evaluate, judge, flip, record. Each step is committed before the next.

A worker that dies anywhere in here leaves a promotion that another one claims and continues from the last committed
step; every step may be done twice. When promotions are opened is in `open_promotions.py`; the loop that claims them
is `serving/worker.py`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mlflow_ext.domain.gates import GateReport, Verdict
from mlflow_ext.domain.pins import Manifest
from mlflow_ext.domain.promotion import LETS_GO, Promotion, PromotionEvent, PromotionState, conclusion
from mlflow_ext.domain.stages import ModelVersion, Stage, in_production
from mlflow_ext.domain.staging import APPROVED_TAG, OVERRIDE_TAG, ROLLED_BACK_TAG, outranked, outranked_words, overtaken
from mlflow_ext.errors import (
    ConflictError,
    EvaluationCrashedError,
    EvaluationImpossibleError,
    GateRefusedError,
    NotFoundError,
    UnavailableError,
    UnsafeModelError,
)
from mlflow_ext.policy import EvaluationPolicy, ModelPolicy
from mlflow_ext.ports import Evaluator, EventLog, Promotions, Registry, RegistryView, Results

_log = logging.getLogger(__name__)

MAX_CRASHES = 3
"""So often may the evaluation process die on one promotion before it counts as failed."""
MAX_BACK_OFF_S = 60.0
MAX_GATE_BACK_OFF_S = 600.0
_MOMENT_S = 0.5
CRASHED = "evaluation_crashed"
GATE_ERROR = "gate_error"
RETRY = "retry"

NO_GATES = (
    "the policy names no gates for this model, so nothing was measured; add some under models.{model}.gates in "
    "mlflow-ext.yaml (such as `gates: [{{metric: roc_auc, min_absolute_change: 0}}]`) and mark the version Staging "
    "again, or `mlflow-ext approve {id}`, or move it to Production by hand"
)


@dataclass(frozen=True, slots=True)
class Promoter:
    """The use case with everything it needs.

    Attributes:
        view: The registry's present state.
        events: The registry's changes, newest first.
        registry: Changes to the registry.
        promotions: The store; claims and fences.
        evaluator: Measures both versions and lets the gates judge.
        results: Shows the outcome in MLflow.
        policy: Gives the policy of a model.
        verify: Makes sure that a version's files are still those that were judged; raises `UnsafeModelError`.
        flipped: Called after a version went to Production; brings marks and pointer along.
    """

    view: RegistryView
    events: EventLog
    registry: Registry
    promotions: Promotions
    evaluator: Evaluator
    results: Results
    policy: Callable[[str], ModelPolicy]
    flipped: Callable[[str], None]
    verify: Callable[[ModelVersion], None]

    def advance(self, promotion: Promotion, cancelled: Callable[[], bool]) -> Promotion:
        """Bring a claimed promotion as far as it goes now.

        Args:
            promotion: As `claim` gave it.
            cancelled: True once the promotion is no longer ours, or the worker stops.

        Returns:
            The promotion as it stands: ended, waiting for a person, or still open where it will be tried again.
        """
        try:
            return self._advance(promotion, cancelled)
        except UnavailableError as exc:
            self._postpone(promotion, RETRY, str(exc))
        except ConflictError:
            _log.info("promotion_let_go promotion=%s attempt=%s", promotion.id, promotion.attempt)
        except EvaluationCrashedError as exc:
            self._postpone(promotion, CRASHED, f"{exc} (attempt {promotion.attempt})")
        # a fault of ours in one promotion must not stop the worker for all others; it is counted like a crash
        except Exception as exc:
            _log.exception("promotion_fault promotion=%s", promotion.id)
            note = f"a fault in mlflow-ext: {type(exc).__name__}: {exc} (attempt {promotion.attempt})"
            self._postpone(promotion, CRASHED, note)
        return self.promotions.get(promotion.id)

    def _advance(self, promotion: Promotion, cancelled: Callable[[], bool]) -> Promotion:
        crashes = self._noted(promotion, CRASHED)
        if len(crashes) >= MAX_CRASHES:
            return self._fail(promotion, f"{crashes[-1]} (tried {len(crashes)} times)")
        if promotion.state is PromotionState.EVALUATING:
            try:
                promotion = self._evaluate(promotion, cancelled)
            except (EvaluationImpossibleError, NotFoundError, GateRefusedError) as exc:
                return self._fail(promotion, str(exc))
        if promotion.state is PromotionState.ROLLING_OUT:
            promotion = self._publish(promotion)
        return promotion

    def _evaluate(self, promotion: Promotion, cancelled: Callable[[], bool]) -> Promotion:
        policy = self.policy(promotion.model)
        self.promotions.note_policy(promotion.model, policy)
        while True:
            version = self._still_wanted(promotion)
            if version is None:
                return self.promotions.get(promotion.id)
            champion = self._champion(promotion)
            report = self._report(promotion, version, champion, policy, cancelled)
            # a champion that changed meanwhile makes the comparison worthless: compare with the new one
            if _number(self._champion(promotion)) == _number(champion):
                break
        asked = self._noted(promotion, GATE_ERROR)
        if report.may_pass and len(asked) < policy.evaluation.retries:
            self._ask_again(promotion, report, policy.evaluation, len(asked) + 1)
            return self.promotions.get(promotion.id)
        event = conclusion(report.verdict, dry_run=promotion.dry_run)
        outcome = _outcome(promotion, report, event)
        if report.may_pass and asked:
            outcome += f" (asked {len(asked) + 1} times)"
        if self._still_wanted(promotion) is None:
            return self.promotions.get(promotion.id)
        if not self.promotions.renew(promotion):
            raise ConflictError("the promotion was taken over")
        self.results.write(promotion, version, report, outcome)
        return self.promotions.record(
            promotion,
            event,
            note=outcome,
            values={
                "report": report.as_dict(),
                "champion_version": report.champion_version,
                "policy_hash": policy.digest,
                "run_id": report.evidence_run_id,
                "registry_at": self._registry_at(promotion),
                "pin": _judged_files(report, event),
            },
        )

    def _report(
        self,
        promotion: Promotion,
        version: ModelVersion,
        champion: ModelVersion | None,
        policy: ModelPolicy,
        cancelled: Callable[[], bool],
    ) -> GateReport:
        if not policy.gates:
            return GateReport(results=(), champion_version=_number(champion))
        return self.evaluator.evaluate(promotion, version, champion, policy, cancelled)

    def _publish(self, promotion: Promotion) -> Promotion:
        version = self._still_wanted(promotion)
        if version is None:
            return self.promotions.get(promotion.id)
        if version.stage is not Stage.PRODUCTION:
            # the last moment to notice that the promotion is no longer ours; a late writer must not flip
            if not self.promotions.renew(promotion):
                raise ConflictError("the promotion was taken over")
            if (latest := self._outranked(promotion)) is not None:
                return self._yield_to(promotion, version, latest)
            try:
                self.verify(version)
                # the looks above may be old when MLflow is called: both are repeated in its transaction
                with self.registry.claiming(promotion.id, promotion.attempt):
                    self.registry.set_stage(promotion.model, promotion.version, Stage.PRODUCTION)
            except ConflictError:
                if (latest := self._outranked(promotion)) is None or not self.promotions.renew(promotion):
                    raise
                return self._yield_to(promotion, version, latest)
            except (GateRefusedError, UnsafeModelError) as exc:
                return self._fail(promotion, str(exc), GateReport.from_dict(promotion.report or {"results": []}))
            except NotFoundError:
                return self._supersede(promotion, overtaken(promotion, None, ()) or "")
        if promotion.reason:
            # a person let it go on: past its gates, or by approving it
            tag = OVERRIDE_TAG if promotion.override_reason else APPROVED_TAG
            said = f"{promotion.reason} (promotion {promotion.id})"
            self.registry.set_tags(promotion.model, promotion.version, {tag: said})
        if ROLLED_BACK_TAG in version.tags:
            self.registry.delete_tag(promotion.model, promotion.version, ROLLED_BACK_TAG)
        try:
            self.flipped(promotion.model)
        except (GateRefusedError, NotFoundError) as exc:
            # the version is in Production; the worker's next look settles what is left
            _log.warning("marks_not_settled model=%s reason=%r", promotion.model, str(exc))
        published = self.promotions.record(
            promotion,
            PromotionEvent.PUBLISHED,
            note=f"version {promotion.version} is in Production"
            + (f", {promotion.reason}" if promotion.reason else ""),
            values={"registry_at": self._registry_at(promotion)},
        )
        _log.info("promoted model=%s version=%s promotion=%s", promotion.model, promotion.version, promotion.id)
        return published

    def _still_wanted(self, promotion: Promotion) -> ModelVersion | None:
        """Give the version, or end the promotion that a person has outrun."""
        moves = self.events.latest(promotion.model)
        try:
            version = self.view.version(promotion.model, promotion.version)
        except NotFoundError:
            version = None
        reason = overtaken(promotion, version, moves)
        if reason is not None:
            self._supersede(promotion, reason, version)
            return None
        return version

    def _outranked(self, promotion: Promotion) -> int | None:
        moves = self.events.latest(promotion.model)
        return outranked(promotion, self.view.versions(promotion.model), moves)

    def _yield_to(self, promotion: Promotion, version: ModelVersion, latest: int) -> Promotion:
        """Judge it again, or end it and say so at its version: it was decided before another version was there."""
        first = self._first_by_gates(promotion, latest)
        if first is not None and first.state is PromotionState.ROLLING_OUT:
            note = f"waits for the end of promotion {first.id} of version {latest}"
            self._postpone(promotion, RETRY, note, _MOMENT_S)
            return self.promotions.get(promotion.id)
        if first is not None and first.state is PromotionState.PROMOTED:
            note = f"version {latest} was first, by promotion {first.id}: the gates compare with that one now"
            return self.promotions.record(promotion, PromotionEvent.COMPARE_ANEW, note=note)
        reason = outranked_words(promotion, latest)
        self._show(promotion, version, GateReport.from_dict(promotion.report or {"results": []}), reason)
        _log.info("promotion_outranked model=%s promotion=%s by_version=%s", promotion.model, promotion.id, latest)
        return self._supersede(promotion, reason, version)

    def _first_by_gates(self, promotion: Promotion, latest: int) -> Promotion | None:
        """Give the newest promotion of the version in Production, unless a person has spoken for it or for this one."""
        first = next((one for one in self.promotions.find(promotion.model, version=latest) if not one.dry_run), None)
        return None if first is None or self._has_spoken(first) or self._has_spoken(promotion) else first

    def _has_spoken(self, promotion: Promotion) -> bool:
        """Tell whether a person has let it go on."""
        return any(step["event"] in LETS_GO for step in self.promotions.story(promotion.id))

    def _show(self, promotion: Promotion, version: ModelVersion, report: GateReport, reason: str) -> None:
        try:
            self.results.write(promotion, version, report, f"It stays in its stage: {reason}")
        except (NotFoundError, GateRefusedError) as exc:
            _log.warning("results_not_written promotion=%s reason=%r", promotion.id, str(exc))

    def _champion(self, promotion: Promotion) -> ModelVersion | None:
        champion = in_production(self.view.versions(promotion.model))
        return None if champion is None or champion.version == promotion.version else champion

    def _supersede(self, promotion: Promotion, reason: str, version: ModelVersion | None = None) -> Promotion:
        values = {"registry_at": version.updated_at if version else None}
        return self.promotions.record(promotion, PromotionEvent.SUPERSEDE, note=reason, values=values)

    def _fail(self, promotion: Promotion, reason: str, report: GateReport | None = None) -> Promotion:
        """End as failed, and say so at the version where MLflow lets us."""
        report = report or GateReport(results=(), failure=reason)
        try:
            self._show(promotion, self.view.version(promotion.model, promotion.version), report, reason)
        except NotFoundError:
            _log.info("version_gone promotion=%s", promotion.id)
        values = {
            "report": report.as_dict(),
            "policy_hash": self.policy(promotion.model).digest,
            "registry_at": self._registry_at(promotion),
        }
        failed = self.promotions.record(promotion, PromotionEvent.FAIL, note=reason, values=values)
        _log.warning("promotion_failed model=%s promotion=%s", promotion.model, promotion.id)
        return failed

    def _registry_at(self, promotion: Promotion) -> datetime | None:
        try:
            return self.view.version(promotion.model, promotion.version).updated_at
        except NotFoundError:
            return None

    def _noted(self, promotion: Promotion, event: str) -> list[str]:
        return [step["note"] for step in self.promotions.story(promotion.id) if step["event"] == event]

    def _ask_again(self, promotion: Promotion, report: GateReport, policy: EvaluationPolicy, number: int) -> None:
        delay_s = min(MAX_GATE_BACK_OFF_S, policy.retry_after_s * 2.0 ** (number - 1))
        note = f"{report.reason} (the gates are asked again in {delay_s:g} s, {number} of {policy.retries})"
        self._postpone(promotion, GATE_ERROR, note, delay_s)

    def _postpone(self, promotion: Promotion, event: str, note: str, delay_s: float | None = None) -> None:
        if delay_s is None:
            delay_s = min(MAX_BACK_OFF_S, 2.0 ** min(promotion.attempt, 10) / 2)
        _log.warning("promotion_postponed promotion=%s event=%s delay_s=%s", promotion.id, event, delay_s)
        self.promotions.postpone(promotion, delay_s, event=event, note=note)


def _judged_files(report: GateReport, event: PromotionEvent) -> Manifest | None:
    """Give the files to be pinned: those that the gates let pass, or left to a person."""
    files = report.details.get("manifest")
    if files is None or event not in (PromotionEvent.GATES_PASSED, PromotionEvent.APPROVAL_NEEDED):
        return None
    return Manifest.from_list(files)


def _number(version: ModelVersion | None) -> int | None:
    return version.version if version else None


def _outcome(promotion: Promotion, report: GateReport, event: PromotionEvent) -> str:
    if event is PromotionEvent.DRY_RUN_ENDED:
        return f"Dry run, nothing was changed: {report.reason}"
    if event is PromotionEvent.GATES_PASSED:
        return f"All gates passed, it goes to Production: {report.reason}"
    if event is PromotionEvent.GATES_FAILED:
        return f"It is rejected and stays in its stage: {report.reason}"
    if report.verdict is Verdict.INCONCLUSIVE and not report.results:
        return "It waits for a person: " + NO_GATES.format(model=promotion.model, id=promotion.id)
    if report.verdict is Verdict.INCONCLUSIVE:
        return (
            f"It waits for a person, who says `mlflow-ext approve {promotion.id}` or `mlflow-ext reject "
            f"{promotion.id}`: {report.reason}"
        )
    return f"It could not be judged: {report.reason}"
