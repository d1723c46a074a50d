"""What asks for a retraining: checks that say drift or a bad metric, new rows, the clock, a person.

Here occasions are seen; whether one opens a retraining is decided in `mlflow_ext/store/retraining_triggers.py`, by the
rules of `mlflow_ext/domain/retraining_brakes.py`. Any number of schedulers may look: each occasion is decided once.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from mlflow_ext.domain.drift import DriftVerdict
from mlflow_ext.domain.retraining import Decision, Trigger
from mlflow_ext.errors import ConflictError, InvalidPolicyError
from mlflow_ext.retraining_policy import RetrainingPolicy
from mlflow_ext.store.retraining_triggers import Judged, Occasion, RetrainingTriggers
from mlflow_ext.store.slots import last_slot

_log = logging.getLogger(__name__)

NO_PROJECT = "the policy names no project (retraining.project)"


class Triggers:
    """Looks for occasions."""

    def __init__(self, store: RetrainingTriggers, policy_of: Callable[[str], RetrainingPolicy]) -> None:
        """Take where decisions are made, and the policy of each model."""
        self._store = store
        self._policy_of = policy_of

    def look(self, models: Iterable[str]) -> None:
        """Decide every occasion there is.

        Args:
            models: Those that policies name, for the triggers that ask by themselves.
        """
        self._checks()
        for model in models:
            policy = self._policy_of(model)
            if policy.project is not None:
                self._clock(model, policy)
                self._rows(model, policy)

    def by_hand(self, model: str, reason: str, since: datetime | None, until: datetime | None) -> Decision:
        """Open a retraining on a person's word.

        Args:
            model: Registered model.
            reason: Why, in words.
            since: Beginning of the window to learn from; the policy's window by default.
            until: Its end; now by default.

        Raises:
            InvalidPolicyError: The policy names no project.
            ConflictError: One is open, or a person holds it.
        """
        policy = self._policy_of(model)
        if policy.project is None:
            raise InvalidPolicyError(f"nothing can be run for {model}: {NO_PROJECT}")
        now = self._store.now()
        end = until or now
        begin = since or end - timedelta(seconds=policy.window_s)
        if begin >= end:
            raise InvalidPolicyError(f"the window {begin.isoformat()} to {end.isoformat()} is empty")
        occasion = Occasion(model, Trigger.MANUAL, f"asked {now.isoformat()}", reason, begin, end)
        decided = self._store.decide(occasion, policy.limits)
        if decided is None or decided.retraining_id is None:
            why = decided.refusal if decided else "it was asked twice at once"
            raise ConflictError(f"no retraining of {model} was started: {why}")
        return decided

    def _checks(self) -> None:
        for trigger, cause_of in ((Trigger.DRIFT, _drifted), (Trigger.METRIC, _bad)):
            for check in self._store.unseen_checks(trigger):
                policy = self._policy_of(check.model)
                cause = cause_of(check, policy)
                occasion = Occasion(check.model, trigger, check.key, cause or check.key, check.since, check.until)
                if cause is None:
                    self._store.skip(occasion, "asks for nothing")
                elif policy.project is None:
                    self._store.skip(occasion, NO_PROJECT)
                else:
                    self._decide(occasion, policy)

    def _clock(self, model: str, policy: RetrainingPolicy) -> None:
        cron, zone = policy.triggers.cron, policy.triggers.timezone
        if cron is None:
            return
        slot = last_slot(cron, zone, self._store.now())
        key = f"slot {slot.isoformat()}"
        occasion = Occasion(model, Trigger.CRON, key, f"cron {cron}", slot - timedelta(seconds=policy.window_s), slot)
        if self._store.last_key(model, Trigger.CRON) is None:
            self._store.skip(occasion, "the schedule begins after this slot")
        else:
            self._decide(occasion, policy)

    def _rows(self, model: str, policy: RetrainingPolicy) -> None:
        wanted = policy.triggers.new_rows
        if wanted is None:
            return
        since = self._store.last_window_end(model)
        rows, first, now = self._store.rows_since(model, since)
        if rows < wanted or first is None:
            return
        begin = since or first
        occasion = Occasion(
            model, Trigger.ROWS, f"since {begin.isoformat()}", f"{rows} new rows (new_rows {wanted})", begin, now
        )
        # what was refused is asked again: the rows do not go away
        self._decide(occasion, policy, again=True)

    def _decide(self, occasion: Occasion, policy: RetrainingPolicy, *, again: bool = False) -> None:
        decided = self._store.decide(occasion, policy.limits, again=again)
        if decided is not None:
            _log.info(
                "retraining.decided model=%s trigger=%s cause=%r decision=%r",
                *(decided.model, decided.trigger, decided.cause, str(decided)),
            )


def _drifted(check: Judged, policy: RetrainingPolicy) -> str | None:
    if not policy.triggers.drift or check.verdict != DriftVerdict.DRIFT:
        return None
    return f"check {check.id} says drift"


def _bad(check: Judged, policy: RetrainingPolicy) -> str | None:
    rows = check.performance.get("labelled_rows", 0.0)
    for name, bound in policy.triggers.metrics.items():
        value = check.performance.get(name)
        if value is not None and rows >= bound.minimum_rows and (said := bound.broken_by(value)):
            return f"{check.key}: {name} {value:.4g} is {said}"
    return None
