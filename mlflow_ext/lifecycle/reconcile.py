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
    for _ in range(_ROUNDS):
        pointer = pointers.get(model)
        versions, moves = _look(model, view, events)
        foreign = _without_ours(moves, done)
        todo = changes(versions, weigh(versions, foreign, pointer))
        if not todo:
            break
        for change in todo:
            if _without_ours(events.latest(model), done) != foreign:
                break  # somebody moved a mark since we decided: decide again
            _apply(registry, model, change)
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


def _without_ours(moves: list[RegistryEvent], done: list[Change]) -> list[RegistryEvent]:
    """Leave out the events that our own writes caused: for each write the newest one that fits."""
    ours = [trace for change in done for trace in _traces(change)]
    rest = []
    for move in moves:
        about = None if move.kind is RegistryEventKind.ALIAS else move.version
        trace = (move.kind, move.key, about, move.new)
        if trace in ours:
            ours.remove(trace)
        else:
            rest.append(move)
    return rest


_Trace = tuple[RegistryEventKind, str, int | None, str | None]


def _traces(change: Change) -> list[_Trace]:
    """Say which events a change leaves behind."""
    if change.mark is Mark.ALIAS:
        return [(RegistryEventKind.ALIAS, change.key, None, change.value)]
    if change.mark is Mark.TAG:
        return [(RegistryEventKind.TAG, change.key, change.version, change.value)]
    archived = [(RegistryEventKind.STAGE, "", version, Stage.ARCHIVED.value) for version in change.archives]
    return [(RegistryEventKind.STAGE, "", change.version, change.value), *archived]


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
