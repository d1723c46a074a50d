"""A person's word on a promotion: approve, reject, abort. Who may ask for it is decided where the request comes in.

What the word does is in `domain/promotion.py` and `domain/approval.py`; taking a version out of Production again is in
`roll_back.py`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_ext.domain.actors import acting
from mlflow_ext.domain.gates import GateReport
from mlflow_ext.domain.promotion import Promotion, PromotionEvent, PromotionState
from mlflow_ext.domain.stages import Stage
from mlflow_ext.errors import ConflictError, GateRefusedError, IllegalTransitionError, NotFoundError, UnavailableError
from mlflow_ext.lifecycle.request_promotion import production_version
from mlflow_ext.ports import Approvals, Promotions, RegistryView, Results

_log = logging.getLogger(__name__)

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Decisions:
    """The use case with everything it needs.

    Attributes:
        promotions: The promotions.
        approvals: People's words on them.
        view: The registry's present state.
        results: Gives what shows outcomes in MLflow; asked for only where something is to be shown.
        take_back: Brings a model back to its last good version; takes the model and a comment.
    """

    promotions: Promotions
    approvals: Approvals
    view: RegistryView
    results: Callable[[], Results]
    take_back: Callable[[str, str], object]

    def approve(self, promotion_id: int, comment: str = "") -> Promotion:
        """Agree to a promotion that waits for people; the last one that is needed lets it go on.

        Raises:
            NotFoundError: There is no such promotion.
            ConflictError: It does not wait for a person, or was compared with another version than is in Production.
            GateRefusedError: This person's word does not count: the author's, where four eyes are asked for.
        """
        found = self.promotions.get(promotion_id)
        after = self.approvals.give(found, acting().name, comment.strip(), self._champion(found))
        _log.info("promotion_approved promotion=%s state=%s", after.id, after.state)
        return after

    def _champion(self, promotion: Promotion) -> int | None:
        """Give the version that the person agrees to replace: the one that was compared with, if any was."""
        if promotion.state is not PromotionState.AWAITING_APPROVAL:
            return promotion.champion_version
        champion = production_version(promotion.model, self.view)
        if not (promotion.report or {}).get("results"):
            return champion
        if champion != promotion.champion_version and champion != promotion.version:
            raise ConflictError(
                f"{_version(champion)} of {promotion.model} is in Production now, and the gates compared with "
                f"{_version(promotion.champion_version)}: `mlflow-ext abort {promotion.id}`, then `mlflow-ext promote "
                f"{promotion.model} {promotion.version}` compares anew"
            )
        return promotion.champion_version

    def reject(self, promotion_id: int, comment: str = "") -> Promotion:
        """Refuse a promotion that waits for people: its version stays where it is. One in Production is rolled back.

        Raises:
            NotFoundError: There is no such promotion.
            ConflictError: It neither waits for a person nor is in Production, or there is nothing to go back to.
            UnavailableError: MLflow does not answer; only for a version in Production.
        """
        found = self.promotions.get(promotion_id)
        if found.state is PromotionState.PROMOTED and _in_production(found, self.view):
            self.take_back(found.model, comment.strip())
            return self.promotions.get(promotion_id)
        after = self.promotions.record(found, PromotionEvent.REFUSED, note=_said("rejected", comment))
        self._show(after)
        return after

    def abort(self, promotion_id: int, comment: str = "") -> Promotion:
        """End an open promotion; its version stays where it is. One that was aborted stays so.

        A worker that is just moving the version to Production is not interrupted: half a move would be worse than a
        rollback.

        Raises:
            NotFoundError: There is no such promotion.
            ConflictError: It has ended, or the version is on its way to Production or there already.
        """
        for left in reversed(range(_TRIES)):
            found = self.promotions.get(promotion_id)
            if found.state is PromotionState.ABORTED:
                return found
            rolling = found.state is PromotionState.ROLLING_OUT
            back = f"`mlflow-ext rollback {found.model}` takes it back"
            if rolling and _in_production(found, self.view):
                raise ConflictError(f"version {found.version} of {found.model} is in Production already; {back}")
            try:
                return self.promotions.record(
                    found, PromotionEvent.ABORT, note=_said("aborted", comment), unheld=rolling
                )
            except IllegalTransitionError:
                raise
            except ConflictError:
                if rolling and self.promotions.get(promotion_id).state is found.state:
                    raise ConflictError(
                        f"version {found.version} of {found.model} is being moved to Production right now; {back}"
                    ) from None
                if not left:
                    raise  # it moves faster than it can be read
        raise AssertionError("unreachable")

    def _show(self, promotion: Promotion) -> None:
        """Say so in MLflow as well; the decision stands, whether or not MLflow answers."""
        report = GateReport.from_dict(promotion.report) if promotion.report else GateReport(results=())
        try:
            version = self.view.version(promotion.model, promotion.version)
            self.results().write(promotion, version, report, f"It stays in its stage: {promotion.reason}")
        except (UnavailableError, NotFoundError, GateRefusedError) as exc:
            _log.warning("results_not_written promotion=%s reason=%r", promotion.id, str(exc))


def _in_production(promotion: Promotion, view: RegistryView) -> bool:
    try:
        return view.version(promotion.model, promotion.version).stage is Stage.PRODUCTION
    except NotFoundError:
        return False


def _version(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"


def _said(what: str, comment: str) -> str:
    return f"{what} by {acting().name}" + (f": {comment.strip()}" if comment.strip() else "")
