"""What asks for retrainings, what came of it, and what holds them, as rows. The rules: `domain/retraining_brakes.py`.

An occasion (a check, a slot, a person's word) is decided once, under a lock of its model; a refusal is kept with its
reason. Which occasions there are is seen in `drift/triggers.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, case, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mlflow_ext.domain.drift import CheckKind
from mlflow_ext.domain.retraining import Decision, Hold, HoldKind, RetrainingState, Trigger
from mlflow_ext.domain.retraining_brakes import Brake, Limits, Past, refusal
from mlflow_ext.errors import ConflictError, NotFoundError
from mlflow_ext.store.alert_raising import HALTED, raise_alert, resolve_alert
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.retraining_tables import retraining_decision as decision
from mlflow_ext.store.retraining_tables import retraining_hold as hold
from mlflow_ext.store.tables import drift_check, retraining, segment

ROBOT = "the drift scheduler"
_MOST_PAST = 200
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext(:name))")


@dataclass(frozen=True, slots=True)
class Occasion:
    """Something that asks for a retraining.

    Attributes:
        model: Registered model.
        trigger: What it is.
        key: Names it among those of its trigger.
        cause: It in words.
        since: Beginning of the window to learn from.
        until: End of that window.
    """

    model: str
    trigger: Trigger
    key: str
    cause: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Judged:
    """A check with an answer that no trigger has seen yet."""

    id: int
    key: str
    model: str
    verdict: str
    performance: dict[str, float]
    since: datetime
    until: datetime


class RetrainingTriggers:
    """Decisions and holds. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def decide(self, occasion: Occasion, limits: Limits, *, again: bool = False) -> Decision | None:
        """Open a retraining, or note why not.

        Args:
            occasion: What asks.
            limits: The policy's limits.
            again: Whether an occasion that was refused is looked at again; it is refused for the same cause once only.

        Returns:
            The decision, if it is a new one.
        """
        with translated(), self._model(occasion.model) as (connection, now):
            mine = _of(decision, occasion.model)
            same = (decision.c.trigger == occasion.trigger) & (decision.c.key == occasion.key)
            settled = select(decision.c.id).where(mine, same)
            if again:
                settled = settled.where(decision.c.brake == "")
            if connection.execute(settled.limit(1)).first() is not None:
                return None
            refused = refusal(
                occasion.trigger, now, limits, _past(connection, occasion.model), *_held(connection, occasion)
            )
            opened = None if refused else _open(connection, occasion)
            entered = (
                upsert(decision)
                .values(
                    model=occasion.model,
                    trigger=occasion.trigger,
                    key=occasion.key,
                    cause=occasion.cause,
                    retraining_id=opened,
                    brake=refused.brake if refused else "",
                    refusal=refused.reason if refused else "",
                )
                .on_conflict_do_nothing()
                .returning(*_DECISION)
            )
            if refused and refused.brake is Brake.FLAPPING:
                values = {"kind": HoldKind.FLAPPING, "actor": ROBOT, "reason": refused.reason}
                held = upsert(hold).values(model=occasion.model, **values).on_conflict_do_nothing()
                if connection.execute(held).rowcount:
                    raise_alert(
                        connection,
                        occasion.model,
                        HALTED,
                        f"retraining of {occasion.model} is halted: {refused.reason}",
                    )
            row = connection.execute(entered).mappings().one_or_none()
            return None if row is None else _decision(row)

    def skip(self, occasion: Occasion, reason: str) -> None:
        """Note that an occasion asks for nothing."""
        values = {"key": occasion.key, "cause": occasion.cause, "brake": "skipped", "refusal": reason}
        with translated(), self._engine.begin() as connection:
            connection.execute(
                upsert(decision)
                .values(model=occasion.model, trigger=occasion.trigger, **values)
                .on_conflict_do_nothing()
            )

    def decisions(self, model: str | None = None, limit: int = 100) -> list[Decision]:
        """Give decisions, newest first."""
        chosen = select(*_DECISION).where(decision.c.brake != "skipped").order_by(decision.c.id.desc()).limit(limit)
        if model is not None:
            chosen = chosen.where(decision.c.model == model)
        with reading(self._engine) as connection:
            return [_decision(row) for row in connection.execute(chosen).mappings()]

    # holds -----------------------------------------------------------------------------------------------------------

    def pause(self, model: str, actor: str, reason: str) -> Hold:
        """Hold a model's retraining on a person's word; one that runs goes on.

        Raises:
            ConflictError: A person holds it already.
        """
        with translated(), self._model(model) as (connection, now):
            there = _hold(connection, model)
            if there is not None and there.kind is HoldKind.PERSON:
                raise ConflictError(f"the retraining of {model} is held already, by {there.actor}: {there.reason}")
            _lift(connection, model, actor)
            values = {"model": model, "kind": HoldKind.PERSON, "actor": actor, "reason": reason}
            connection.execute(insert(hold).values(values))
            return Hold(model, HoldKind.PERSON, actor, reason, now)

    def resume(self, model: str, actor: str) -> Hold:
        """End the hold of a model's retraining; circles until now are forgotten.

        Raises:
            NotFoundError: Nothing holds it.
        """
        with translated(), self._model(model) as (connection, _):
            there = _hold(connection, model)
            if there is None:
                raise NotFoundError(f"the retraining of {model} is not held")
            _lift(connection, model, actor)
            return there

    def holds(self) -> dict[str, Hold]:
        """Give what is held, by model."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(hold).where(hold.c.lifted_at.is_(None))).mappings()
            return {row["model"]: _as_hold(row) for row in rows}

    # what there is to see --------------------------------------------------------------------------------------------

    def unseen_checks(self, trigger: Trigger) -> list[Judged]:
        """Give answered checks that a trigger has not decided about, oldest first.

        What asks because of a metric is asked again each time that labels had a check measured anew.
        """
        row = drift_check.c
        key = _key(trigger)
        seen = select(decision.c.id).where(
            decision.c.model == row.model, decision.c.trigger == trigger, decision.c.key == key
        )
        chosen = (
            select(row.id, key.label("key"), row.model, row.verdict, row.since, row.until)
            .add_columns(row.report["performance"].label("performance"))
            .where(row.verdict.is_not(None), row.kind == CheckKind.DATA, ~seen.exists())
            .order_by(row.id)
            .limit(100)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(chosen).mappings()
            return [Judged(**{**row, "performance": row["performance"] or {}}) for row in rows]

    def last_window_end(self, model: str) -> datetime | None:
        """Give where the window of the model's newest retraining that was not in vain ends."""
        chosen = select(func.max(retraining.c.until)).where(
            _of(retraining, model), retraining.c.state != RetrainingState.FAILED
        )
        with reading(self._engine) as connection:
            found: datetime | None = connection.execute(chosen).scalar()
            return found

    def rows_since(self, model: str, since: datetime | None) -> tuple[int, datetime | None, datetime]:
        """Count logged rows of a model, in whole segments.

        Returns:
            Rows in segments that begin at `since` or later (all for `None`), the time of the first, and now.
        """
        mine = _of(segment, model) & segment.c.replaced_at.is_(None)
        if since is not None:
            mine &= segment.c.first_at >= since
        chosen = select(
            func.coalesce(func.sum(segment.c.rows), 0), func.min(segment.c.first_at), func.clock_timestamp()
        ).where(mine)
        with reading(self._engine) as connection:
            rows, first, now = connection.execute(chosen).tuples().one()
            return int(rows), first, now

    def last_key(self, model: str, trigger: Trigger) -> str | None:
        """Give the newest occasion of a trigger that was decided about."""
        chosen = select(decision.c.key).where(_of(decision, model), decision.c.trigger == trigger)
        with reading(self._engine) as connection:
            return connection.execute(chosen.order_by(decision.c.id.desc()).limit(1)).scalar()

    def now(self) -> datetime:
        """Give the database's time."""
        with reading(self._engine) as connection:
            found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
            return found

    @contextmanager
    def _model(self, model: str) -> Iterator[tuple[Connection, datetime]]:
        """Be the only one who decides about a model; gives a transaction and its time."""
        with self._engine.begin() as connection:
            connection.execute(_LOCK, {"name": f"mlflow_ext.retraining {model}"})
            yield connection, connection.execute(select(func.clock_timestamp())).scalar_one()


_DECISION = [decision.c[name] for name in Decision.__slots__]


def _key(trigger: Trigger) -> ColumnElement[str]:
    """Name a check as an occasion, in SQL."""
    row = drift_check.c
    first = func.concat("check ", row.id)
    if trigger is not Trigger.METRIC:
        return first
    return case((row.evaluation > 0, func.concat(first, ", evaluation ", row.evaluation)), else_=first)


def _of(table: Any, model: str) -> Any:
    return table.c.model == model


def _past(connection: Connection, model: str) -> list[Past]:
    row = retraining.c
    chosen = select(row.id, row.trigger, row.state, row.created_at, row.finished_at).where(_of(retraining, model))
    found = connection.execute(chosen.order_by(row.id.desc()).limit(_MOST_PAST)).tuples()
    return [Past(id_, Trigger(by), RetrainingState(state), *times) for id_, by, state, *times in found]


def _held(connection: Connection, occasion: Occasion) -> tuple[Hold | None, datetime | None]:
    resumed = connection.execute(select(func.max(hold.c.lifted_at)).where(_of(hold, occasion.model))).scalar()
    return _hold(connection, occasion.model), resumed


def _hold(connection: Connection, model: str) -> Hold | None:
    chosen = select(hold).where(_of(hold, model), hold.c.lifted_at.is_(None))
    row = connection.execute(chosen).mappings().one_or_none()
    return None if row is None else _as_hold(row)


def _lift(connection: Connection, model: str, actor: str) -> None:
    held = _of(hold, model) & hold.c.lifted_at.is_(None)
    resolve_alert(connection, model, HALTED)
    connection.execute(update(hold).where(held).values(lifted_at=func.clock_timestamp(), lifted_by=actor))


def _open(connection: Connection, occasion: Occasion) -> int:
    values = {"trigger": occasion.trigger, "cause": occasion.cause, "since": occasion.since, "until": occasion.until}
    opened = insert(retraining).values(model=occasion.model, **values).returning(retraining.c.id)
    return int(connection.execute(opened).scalar_one())


def _as_hold(row: RowMapping) -> Hold:
    return Hold(row["model"], HoldKind(row["kind"]), row["actor"], row["reason"], row["at"])


def _decision(row: RowMapping) -> Decision:
    return Decision(**{**row, "trigger": Trigger(row["trigger"])})
