"""Bringing together what MLflow's marks say and what is served.

Level-triggered: call it whenever, as often as you like. How marks are weighed is in `domain/marks.py`; this file reads
the ports, writes through them, and knows no SQL.
"""

import logging

from mlflow_ext.domain.events import RegistryEvent, RegistryEventKind
from mlflow_ext.domain.marks import Change, changes, weigh
from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import Mark, ModelVersion, Stage
from mlflow_ext.errors import ConflictError
from mlflow_ext.ports import EventLog, Pointers, Registry, RegistryView

_log = logging.getLogger(__name__)

_STEADY_LOOKS = 5
_ROUNDS = 5


def reconcile_pointer(model: str, view: RegistryView, pointers: Pointers, events: EventLog) -> ServingPointer | None:
    """Move the serving pointer to the version in Production, where it is not there already.

    Losing the compare-and-set is fine: whoever won has read the marks too, and notified everybody.

    Returns:
        The pointer as it is now; `None` for a model that never had a version in Production.

    Raises:
        UnavailableError: The database does not answer.
    """
    pointer = pointers.get(model)
    versions, moves = _look(model, view, events)
    production = weigh(versions, moves, pointer).production
    if production == (pointer.version if pointer else None):
        return pointer
    try:
        moved = pointers.move(
            model,
            production,
            seen_generation=pointer.generation if pointer else 0,
            reason="the registry's marks name it" if production else "no version is in Production",
        )
    except ConflictError:
        return pointers.get(model)
    _log.info("pointer_moved model=%s version=%s generation=%s", model, moved.version, moved.generation)
    return moved


def agree_marks(
    model: str, view: RegistryView, events: EventLog, pointers: Pointers, registry: Registry
) -> list[Change]:
    """Bring stage, alias and tag of every version into agreement: the mark that moved last wins.

    A mark that a person moves meanwhile is seen in the events that are not our own writes, and wins in the next round.

    Returns:
        What was changed in MLflow; empty when all marks agreed.

    Raises:
        UnavailableError: MLflow or the database does not answer, or another agreement takes too long.
        GateRefusedError: MLflow's server refused a change.
        NotFoundError: A version vanished meanwhile; the next call sees it.
    """
    # two agreements at once would take each other's writes for a person's
    with pointers.hold(model):
        return _agree(model, view, events, pointers, registry)


def _agree(model: str, view: RegistryView, events: EventLog, pointers: Pointers, registry: Registry) -> list[Change]:
    done: list[Change] = []
    ours: set[int] = set()
    for _ in range(_ROUNDS):
        pointer = pointers.get(model)
        versions, moves = _look(model, view, events)
        foreign = [move for move in moves if move.id not in ours]
        todo = changes(versions, weigh(versions, foreign, pointer))
        if not todo:
            break
        for change in todo:
            before = events.latest(model)
            if [move for move in before if move.id not in ours] != foreign:
                break  # somebody moved a mark since we decided: decide again
            _apply(registry, model, change)
            ours |= _caused(change, before, events.latest(model))
            done.append(change)
            _log.info(
                "mark_agreed model=%s version=%s mark=%s key=%s value=%s",
                *(model, change.version, change.mark, change.key, change.value),
            )
    return done


def _look(model: str, view: RegistryView, events: EventLog) -> tuple[list[ModelVersion], list[RegistryEvent]]:
    """Read versions and events of one moment: two reads with a change between them would contradict each other."""
    moves = events.latest(model)
    for _ in range(_STEADY_LOOKS):
        versions = view.versions(model)
        seen = events.latest(model)
        if seen == moves:
            break
        moves = seen
    return versions, moves


def _caused(change: Change, before: list[RegistryEvent], after: list[RegistryEvent]) -> set[int]:
    """Find the events that our own write left behind: of the new ones the oldest that fits it.

    A transition to Production archives what is there then, which need not be what was there when we decided.
    """
    known = {move.id for move in before}
    fresh = [move for move in reversed(after) if move.id not in known]
    found = {next((move.id for move in fresh if _fits(move, change)), 0)}
    if change.mark is Mark.STAGE and change.value == Stage.PRODUCTION:
        found |= {move.id for move in fresh if move.kind is RegistryEventKind.STAGE and move.new == Stage.ARCHIVED}
    return found


def _fits(move: RegistryEvent, change: Change) -> bool:
    about = change.mark is Mark.ALIAS or move.version == change.version
    return about and (move.kind.value, move.key, move.new) == (change.mark.value, change.key, change.value)


def _apply(registry: Registry, model: str, change: Change) -> None:
    if change.mark is Mark.STAGE:
        registry.set_stage(model, change.version, Stage.parse(change.value) or Stage.NONE)
    elif change.mark is Mark.ALIAS and change.value is not None:
        registry.set_alias(model, change.key, change.version)
    elif change.mark is Mark.ALIAS:
        registry.delete_alias(model, change.key)
    elif change.value is not None:
        registry.set_tags(model, change.version, {change.key: change.value})
    else:
        registry.delete_tag(model, change.version, change.key)
