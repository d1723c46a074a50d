"""Open a promotion for each version that a mark put in Staging, and end those that a person's hand has outrun.

Level-triggered: it reads the registry's present state and may be called at any time, by any number of workers.
"""

import logging

from mlflow_ext.domain.promotion import Promotion, PromotionEvent
from mlflow_ext.domain.staging import REGISTRY, opening_cause, overtaken
from mlflow_ext.errors import ConflictError
from mlflow_ext.ports import EventLog, Promotions, RegistryView

_log = logging.getLogger(__name__)


def open_promotions(model: str, view: RegistryView, events: EventLog, promotions: Promotions) -> list[Promotion]:
    """Open what the marks ask for.

    Returns:
        The promotions that are there for it now; empty when nothing had to be opened.
    """
    opened = []
    moves = events.latest(model)
    for version in view.versions(model):
        known = promotions.find(model, version=version.version)
        if any(row.state.is_open for row in known):
            continue
        latest = next((row for row in known if not row.dry_run), None)
        cause = opening_cause(version, moves, latest)
        if cause is None:
            continue
        try:
            promotion = promotions.request(model, version.version, source=REGISTRY, cause=cause)
        except ConflictError:
            continue  # somebody opened one for another cause since we looked; when it ends, this is looked at again
        _log.info("promotion_opened model=%s version=%s promotion=%s", model, version.version, promotion.id)
        opened.append(promotion)
    return opened


def end_overtaken(model: str, view: RegistryView, events: EventLog, promotions: Promotions) -> list[Promotion]:
    """Mark open promotions as superseded whose version a person has moved; what the person did stays."""
    ended = []
    # the promotions are read first: what is seen of the registry afterwards is at least as new
    for promotion in promotions.find(model, open_only=True):
        moves = events.latest(model)
        version = next((one for one in view.versions(model) if one.version == promotion.version), None)
        reason = overtaken(promotion, version, moves)
        if reason is None:
            continue
        registry_at = version.updated_at if version else None
        try:
            ended.append(
                promotions.record(promotion, PromotionEvent.SUPERSEDE, note=reason, values={"registry_at": registry_at})
            )
        except ConflictError:
            continue  # it went on meanwhile; the next look judges its new state
        _log.info("promotion_superseded model=%s promotion=%s", model, promotion.id)
    return ended
