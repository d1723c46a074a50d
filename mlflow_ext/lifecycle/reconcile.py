"""Bringing together what MLflow's marks say and what is served.

Level-triggered: call it whenever, as often as you like. How marks are weighed is in `domain/marks.py`; this file reads
the ports, writes through them, and knows no SQL.
"""

import logging
from collections.abc import Callable, Sequence

from mlflow_ext.domain.events import RegistryEvent
from mlflow_ext.domain.marks import Change, changes, weigh
from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import Mark, ModelVersion, Stage
from mlflow_ext.errors import ConflictError
from mlflow_ext.ports import EventLog, Pointers, Registry, RegistryView

_log = logging.getLogger(__name__)

_ROUNDS = 5


Instead = Callable[[str, Sequence[ModelVersion], Sequence[RegistryEvent]], int | None]
"""Gives the version that is served when nothing is in Production: model, versions, moves of marks newest first."""


def reconcile_pointer(
    model: str,
    view: RegistryView,
    pointers: Pointers,
    events: EventLog,
    instead: Instead = lambda *_: None,
) -> ServingPointer | None:
    """Move the serving pointer to the version in Production, where it is not there already.

    Where nothing is in Production, `instead` says what is served.

    Losing the compare-and-set is fine: whoever won has read the marks too, and notified everybody.

    Returns:
        The pointer as it is now; `None` for a model that never had a version in Production.

    Raises:
        UnavailableError: The database does not answer.
    """
    with view.moment():
        pointer, versions, moves = pointers.get(model), view.versions(model), _moves(model, events)
    production, reason = weigh(versions, moves, pointer).production, "the registry's marks name it"
    if production is None and pointer is not None:
        production, reason = instead(model, versions, moves), "returned to after a withdrawal"
    if production == (pointer.version if pointer else None):
        return pointer
    try:
        moved = pointers.move(
            model,
            production,
            seen_generation=pointer.generation if pointer else 0,
            reason=reason if production else "no version is in Production",
        )
    except ConflictError:
        return pointers.get(model)
    _log.info("pointer_moved model=%s version=%s generation=%s", model, moved.version, moved.generation)
    return moved


def agree_marks(
    model: str, view: RegistryView, events: EventLog, pointers: Pointers, registry: Registry
) -> list[Change]:
    """Bring stage, alias and tag of every version into agreement: the mark that moved last wins.

    A mark that a person moves meanwhile is seen in the events, where our own writes do not count, and wins.

    Returns:
        What was changed in MLflow; empty when all marks agreed.

    Raises:
        UnavailableError: MLflow or the database does not answer, or another agreement takes too long.
        GateRefusedError: MLflow's server refused a change.
        NotFoundError: A version vanished meanwhile; the next call sees it.
    """
    # two agreements at once would write against each other
    with pointers.hold(model):
        return _agree(model, view, events, pointers, registry)


def _agree(model: str, view: RegistryView, events: EventLog, pointers: Pointers, registry: Registry) -> list[Change]:
    done: list[Change] = []
    for _ in range(_ROUNDS):
        with view.moment():
            pointer, versions, moves = pointers.get(model), view.versions(model), _moves(model, events)
        todo = changes(versions, weigh(versions, moves, pointer))
        if not todo:
            break
        for change in todo:
            if _moves(model, events) != moves:
                break  # somebody moved a mark since we decided: decide again
            with registry.agreeing():
                _apply(registry, model, change)
            done.append(change)
            _log.info(
                "mark_agreed model=%s version=%s mark=%s key=%s value=%s",
                *(model, change.version, change.mark, change.key, change.value),
            )
    return done


def _moves(model: str, events: EventLog) -> list[RegistryEvent]:
    """Give the moves that count: an agreement's own write may come after a newer word, and must not outrank it."""
    return [move for move in events.latest(model) if not move.ours]


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
