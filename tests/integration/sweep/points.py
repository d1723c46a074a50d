"""The fault points: the boundaries between the steps of a promotion's life, and how a process is struck at one.

The product holds none of this. A process of the sweep (`nursery.py`) wraps the functions at whose edge a point lies;
when a promotion of the sweep's model comes by for the first time, the process ends or stops itself right there.
"""

import functools
import importlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_ext.domain.promotion import PromotionEvent
from mlflow_ext.domain.staging import APPROVED_TAG, OVERRIDE_TAG, ROLLED_BACK_TAG

DIRECTORY = "SWEEP_DIRECTORY"
"""Variable that arms a process: where it reads what strikes which model, and notes what was struck."""
PERSON = "SWEEP_PERSON"
"""Variable that is set in a person's command."""
ORDERS = "orders.json"
"""File of the directory: by model the name of a point, and `SIGKILL` or `SIGSTOP`."""

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One boundary.

    Attributes:
        name: What has just happened, or is about to.
        at: `module:function` or `module:Class.method` at whose edge it lies.
        after: Whether it lies behind the call; else before.
        flow: In which story of `flows.py` it is passed.
        passes: Tells by the call's arguments, and its result where there is one, whether it is the one that is meant.
        person: It is passed by a person's command, not by a worker.
    """

    name: str
    at: str
    after: bool = False
    flow: str = "promote"
    passes: Callable[[Values], bool] = lambda _: True
    person: bool = False


def _has(word: object) -> Callable[[Values], bool]:
    """Tell whether a value, or a key of one of the mappings, is this word."""
    return lambda values: any(
        word in value if isinstance(value, Mapping) else isinstance(value, str) and value == word for value in values
    )


def _ends_in_production(values: Values) -> bool:
    """Tell whether the changes to marks that were made are those of Production, not of Staging before it."""
    return any(change.key == "production" for change in values[-1])


_PROMOTIONS = "mlflow_ext.store.promotions"
_RECORD = f"{_PROMOTIONS}:SqlPromotions.record"
_REGISTRY = "mlflow_ext.registry.client:MlflowRegistry"
_MOVE = "mlflow_ext.store.pointers:SqlPointers.move"
_AUDIT = f"{_PROMOTIONS}:_audit"
EVALUATING = Point("the gates are being computed", "")
"""Struck by the evaluation process (`quick_evaluation.py`), in the middle of its work."""

POINTS = (
    Point("a mark was seen", f"{_PROMOTIONS}:SqlPromotions.request"),
    Point("opening, in the transaction", _AUDIT, passes=_has("requested")),
    Point("opened", f"{_PROMOTIONS}:SqlPromotions.request", after=True),
    Point("claimed, not yet told", "mlflow_ext.store.lease:LeaseTable.claim", after=True),
    Point("claimed", f"{_PROMOTIONS}:SqlPromotions.claim", after=True),
    Point("policy noted", f"{_PROMOTIONS}:SqlPromotions.note_policy", after=True),
    EVALUATING,
    Point("gates computed", "mlflow_ext.registry.evaluator:ProcessEvaluator.evaluate", after=True),
    Point("results half written", "mlflow:MlflowClient.update_model_version"),
    Point("results written", "mlflow_ext.registry.results:MlflowResults.write", after=True),
    Point("verdict, in the transaction", _AUDIT, passes=_has(PromotionEvent.GATES_PASSED)),
    Point("verdict written", _RECORD, after=True, passes=_has(PromotionEvent.GATES_PASSED)),
    Point("files compared", "mlflow_ext.registry.pinning:StoredFiles.verify", after=True),
    Point("before MLflow is called", f"{_REGISTRY}.set_stage", passes=_has("Production")),
    Point("MLflow was called", f"{_REGISTRY}.set_stage", after=True, passes=_has("Production")),
    Point("before the pointer moves", _MOVE),
    Point("the pointer has moved", _MOVE, after=True),
    Point("before the alias follows", f"{_REGISTRY}.set_alias", passes=_has("production")),
    Point("before the tag follows", f"{_REGISTRY}.set_tags", passes=lambda values: {"stage": "Production"} in values),
    Point("marks agree", "mlflow_ext.bootstrap:agree_marks", after=True, passes=_ends_in_production),
    Point("published, in the transaction", _AUDIT, passes=_has(PromotionEvent.PUBLISHED)),
    Point("published", _RECORD, after=True, passes=_has(PromotionEvent.PUBLISHED)),
    Point("rejection, in the transaction", _AUDIT, flow="reject", passes=_has(PromotionEvent.GATES_FAILED)),
    Point("rejected", _RECORD, after=True, flow="reject", passes=_has(PromotionEvent.GATES_FAILED)),
    Point("approving, in the transaction", "mlflow_ext.store.approvals:apply_step", flow="approve", person=True),
    Point("approved", "mlflow_ext.store.approvals:SqlApprovals.give", after=True, flow="approve", person=True),
    Point("before approval is shown", f"{_REGISTRY}.set_tags", flow="approve", passes=_has(APPROVED_TAG)),
    Point("override asked for, in the transaction", _AUDIT, flow="override", passes=_has("requested"), person=True),
    Point("overriding, in the transaction", _AUDIT, flow="override", passes=_has(PromotionEvent.OVERRIDE), person=True),
    Point("overridden", f"{_PROMOTIONS}:SqlPromotions.override", after=True, flow="override", person=True),
    Point("before the override is shown", f"{_REGISTRY}.set_tags", flow="override", passes=_has(OVERRIDE_TAG)),
    Point("superseding, in the transaction", _AUDIT, flow="supersede", passes=_has(PromotionEvent.SUPERSEDE)),
    Point("superseded", _RECORD, after=True, flow="supersede", passes=_has(PromotionEvent.SUPERSEDE)),
    Point(
        "rollback, version marked",
        f"{_REGISTRY}.set_tags",
        after=True,
        flow="roll back",
        passes=_has(ROLLED_BACK_TAG),
        person=True,
    ),
    Point("rollback, MLflow was called", f"{_REGISTRY}.set_stage", after=True, flow="roll back", person=True),
    Point("rollback, before its story", _RECORD, flow="roll back", passes=_has(PromotionEvent.ROLL_BACK), person=True),
    Point("withdrawal, promotion ended", _RECORD, after=True, flow="withdraw", passes=_has(PromotionEvent.ROLL_BACK)),
    Point(
        "withdrawal, version marked", f"{_REGISTRY}.set_tags", after=True, flow="withdraw", passes=_has(ROLLED_BACK_TAG)
    ),
    Point(
        "withdrawal, MLflow was called",
        f"{_REGISTRY}.set_stage",
        after=True,
        flow="withdraw",
        passes=lambda values: 1 in values[:3],
    ),
)


def arm() -> None:
    """Wrap the functions at whose edge a model is to be struck, if the environment names a directory of orders."""
    orders = _orders()
    names = {name for name, _ in orders.values()}
    for point in POINTS:
        if point.name not in names or not point.at or point.person != (PERSON in os.environ):
            continue
        module, _, path = point.at.partition(":")
        owner: Any = importlib.import_module(module)
        *parents, attribute = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, attribute, _wrapped(getattr(owner, attribute), point, orders))


def strike(model: str, point: Point, pid: int, orders: Mapping[str, list[str]] | None = None) -> None:
    """Kill or stop a process, the first time that this model comes by here; what was struck is noted before."""
    name, effect = (_orders() if orders is None else orders).get(model, ("", ""))
    if name != point.name:
        return
    note = Path(os.environ[DIRECTORY], model)
    partial = note.with_name(f".{model}-{os.getpid()}")
    partial.write_text(f"{pid} {time.monotonic()}", encoding="utf-8")
    try:
        os.link(partial, note)
    except FileExistsError:
        return
    finally:
        partial.unlink()
    os.kill(pid, signal.Signals[effect])


def _orders() -> dict[str, list[str]]:
    directory = os.environ.get(DIRECTORY)
    found: dict[str, list[str]] = json.loads(Path(directory, ORDERS).read_text()) if directory else {}
    return found


def _wrapped(function: Callable[..., Any], point: Point, orders: Mapping[str, list[str]]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs) if point.after else None
        values = (*args, *kwargs.values(), result)
        model = next((name for name in _names(values) if name in orders), None)
        if model is not None and point.passes(values):
            strike(model, point, os.getpid(), orders)
        return result if point.after else function(*args, **kwargs)

    return call


def _names(values: Values) -> Iterator[str]:
    for value in values:
        named = value.get("model") if isinstance(value, Mapping) else getattr(value, "model", value)
        if isinstance(named, str):
            yield named
