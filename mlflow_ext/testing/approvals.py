"""The twin of `store/approvals.py`, on the shelf that the promotions' twin has."""

from mlflow_ext.domain.approval import Approval, effect, requirement, words
from mlflow_ext.domain.promotion import Promotion, PromotionEvent, next_state
from mlflow_ext.testing.promotions import MemoryPromotions, PromotionShelf


class MemoryApprovals:
    """The `Approvals` port in memory; `shelf.authors` says who made a version."""

    def __init__(self, shelf: PromotionShelf) -> None:
        """Take the shelf of the promotions."""
        self._shelf = shelf
        self._promotions = MemoryPromotions(shelf)

    def give(self, promotion: Promotion, actor: str, comment: str, champion: int | None = None) -> Promotion:
        """Count somebody's approval; the last one that is needed lets the promotion go on."""
        with self._shelf.lock:
            now = self._promotions.get(promotion.id)
            given = self.of(promotion.id)
            if any(one.actor == actor for one in given):
                return now
            next_state(now.state, PromotionEvent.AGREED)
            authors = {now.requested_by, *self._shelf.authors.get((now.model, now.version), ())} - {""}
            said = effect(requirement(now.report), given, actor, authors)
            if said is None:
                return now
            event, person = said
            after = [*given, Approval(person, actor, comment, self._shelf.now())]
            self._shelf.approvals[now.id] = after
            values = {} if champion is None else {"champion_version": champion}
            return self._promotions.record(now, event, note=f"approved by {words(after)}", values=values)

    def of(self, promotion_id: int) -> list[Approval]:
        """Give the words that count, oldest first."""
        return list(self._shelf.approvals.get(promotion_id, ()))
