"""The `Promotions` port on PostgreSQL. What a step means: `domain/promotion.py`; who may work on which: `lease.py`."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from mlflow_ext.domain.audit import AuditEvent, promotion_action
from mlflow_ext.domain.events import RegistryEventKind
from mlflow_ext.domain.pins import Manifest, Pin
from mlflow_ext.domain.promotion import (
    KEEPS_REASON,
    OPEN_STATES,
    OVERRIDABLE,
    Promotion,
    PromotionEvent,
    PromotionState,
    leaves_worker,
    next_state,
)
from mlflow_ext.errors import ConflictError, NotFoundError, PromotionInProgressError
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.store.audit import append, evidence_digest
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.lease import LeaseTable
from mlflow_ext.store.pins import put_pin
from mlflow_ext.store.tables import DEFAULT_WORKSPACE, applied_policy, promotion_step, registry_event
from mlflow_ext.store.tables import promotion as table
from mlflow_ext.store.triggers import CHANNEL

_FIELDS = tuple(field for field in Promotion.__dataclass_fields__ if field != "state")
_SETTABLE = frozenset({"report", "champion_version", "policy_hash", "run_id", "registry_at", "override_reason"})
_OPEN = sorted(state.value for state in OPEN_STATES)
# asked for whenever a mark moves: to build a statement costs more than to send it
_OPEN_VERSIONS = (
    select(table.c.version)
    .where(table.c.model == bindparam("of_model"), table.c.state.in_(_OPEN), ~table.c.dry_run)
    .order_by(table.c.id.desc())
)
_EVALUABLE = (PromotionState.REQUESTED.value, PromotionState.EVALUATING.value)


class SqlPromotions:
    """Promotions in `mlflow_ext.promotion`, their story in `promotion_step`."""

    def __init__(self, engine: Engine, *, owner: str = "reader", lease_s: float = 30.0) -> None:
        """Take the database and, for who claims, a name unique among workers and the seconds its lease lasts."""
        self._engine = engine
        self._lease = LeaseTable(engine, table, owner, lease_s)

    def request(
        self, model: str, version: int, *, source: str, cause: str, requested_by: str = "", dry_run: bool = False
    ) -> Promotion:
        """Open a promotion and wake the workers; the same cause again gives the promotion that it opened before."""
        with translated(), self._engine.begin() as connection:
            row, _ = _open(connection, model, version, source, cause, requested_by, dry_run=dry_run)
        if row is None:
            raise _in_progress(model, version)
        return promotion_of(row)

    def override(
        self,
        model: str,
        version: int,
        *,
        source: str,
        cause: str,
        requested_by: str,
        reason: str,
        champion: int | None,
    ) -> Promotion:
        """Send the open promotion of a version past its gates, or open one that is past them; in one transaction."""
        with translated(), self._engine.begin() as connection:
            row, opened = _open(connection, model, version, source, cause, requested_by)
            if row is None:
                # claims and verdicts wait until this transaction has ended
                is_open = select(table).where(_of(model, version), table.c.state.in_(_OPEN), ~table.c.dry_run)
                row = connection.execute(is_open.with_for_update()).mappings().one_or_none()
            elif not opened:
                return promotion_of(row)
            if row is None:
                raise _in_progress(model, version)
            found = promotion_of(row)
            if found.state not in OVERRIDABLE:
                return found
            note = f"past its gates, by {requested_by}: {reason}"
            values = {"override_reason": reason, "champion_version": champion}
            return apply_step(connection, found, PromotionEvent.OVERRIDE, note=note, values=values)

    def get(self, promotion_id: int) -> Promotion:
        """Give one promotion."""
        with reading(self._engine) as connection:
            row = connection.execute(select(table).where(table.c.id == promotion_id)).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"there is no promotion {promotion_id}")
        return promotion_of(row)

    def find(
        self, model: str | None = None, *, version: int | None = None, open_only: bool = False, limit: int = 100
    ) -> list[Promotion]:
        """Give promotions, newest first."""
        query = select(table).order_by(table.c.id.desc()).limit(limit)
        if model is not None:
            query = query.where(table.c.model == model)
        if version is not None:
            query = query.where(table.c.version == version)
        if open_only:
            query = query.where(table.c.state.in_(_OPEN))
        with reading(self._engine) as connection:
            return [promotion_of(row) for row in connection.execute(query).mappings()]

    def open_versions(self, model: str) -> list[int]:
        """Give the versions that may come to Production by an open promotion, the newest promotion first."""
        with reading(self._engine) as connection:
            return list(connection.execute(_OPEN_VERSIONS, {"of_model": model}).scalars())

    def claim(self) -> Promotion | None:
        """Take the oldest promotion that nobody holds; those that only wait to be published come first."""
        row = self._lease.claim([PromotionState.ROLLING_OUT.value], PromotionState.ROLLING_OUT.value)
        row = row or self._lease.claim(_EVALUABLE, PromotionState.EVALUATING.value)
        if row is None:
            return None
        with translated(), self._engine.begin() as connection:
            connection.execute(update(table).where(table.c.id == row["id"]).values(updated_at=func.clock_timestamp()))
            _tell(
                connection,
                row["id"],
                PromotionEvent.CLAIM,
                PromotionState(row["state"]),
                f"taken by worker {self._lease.owner}, attempt {row['attempt']}",
            )
        return promotion_of(row)

    def renew(self, promotion: Promotion) -> bool:
        """Go on holding it; False when somebody else took it over or ended it."""
        return self._lease.renew(promotion.id, promotion.attempt)

    def record(
        self,
        promotion: Promotion,
        event: PromotionEvent,
        *,
        note: str = "",
        values: Mapping[str, Any] | None = None,
        unheld: bool = False,
    ) -> Promotion:
        """Apply an event, with its line of the story, in one transaction."""
        with translated(), self._engine.begin() as connection:
            return apply_step(connection, promotion, event, note=note, values=values, unheld=unheld)

    def postpone(self, promotion: Promotion, delay_s: float, *, event: str, note: str) -> None:
        """Let go until later, with a line of the story unless it would repeat the last one."""
        until = func.clock_timestamp() + text("make_interval(secs => :delay_s)").bindparams(delay_s=delay_s)
        held = and_(
            table.c.id == promotion.id,
            table.c.attempt == promotion.attempt,
            table.c.lease_owner == self._lease.owner,
        )
        with translated(), self._engine.begin() as connection:
            let_go = update(table).where(held).values(lease_owner=None, lease_until=until)
            if connection.execute(let_go).rowcount == 0:
                return
            story = promotion_step.c
            last = connection.execute(
                select(story.event, story.note)
                .where(story.promotion_id == promotion.id, story.event != PromotionEvent.CLAIM)
                .order_by(story.id.desc())
                .limit(1)
            ).one_or_none()
            if last is None or tuple(last) != (event, note):
                _tell(connection, promotion.id, event, promotion.state, note)

    def note_policy(self, model: str, policy: ModelPolicy) -> None:
        """Keep a policy under its digest."""
        document = policy.model_dump(mode="json")
        with translated(), self._engine.begin() as connection:
            connection.execute(
                upsert(applied_policy)
                .values(hash=policy.digest, model=model, document=document)
                .on_conflict_do_nothing()
            )

    def story(self, promotion_id: int) -> Sequence[Mapping[str, Any]]:
        """Give the steps so far, oldest first."""
        step = promotion_step.c
        query = (
            select(step.at, step.event, step.state, step.note)
            .where(step.promotion_id == promotion_id)
            .order_by(step.id)
        )
        with reading(self._engine) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _of(model: str, version: int) -> ColumnElement[bool]:
    return and_(table.c.workspace == DEFAULT_WORKSPACE, table.c.model == model, table.c.version == version)


def _open(
    connection: Connection,
    model: str,
    version: int,
    source: str,
    cause: str,
    requested_by: str,
    *,
    dry_run: bool = False,
) -> tuple[RowMapping | None, bool]:
    """Open a promotion in the caller's transaction, and wake the workers.

    Returns:
        The promotion that the cause has opened, now or before, and whether it was now; `None` where another is open.
    """
    row = (
        connection.execute(
            upsert(table)
            .values(
                model=model,
                version=version,
                state=PromotionState.REQUESTED,
                source=source,
                cause=cause,
                requested_by=requested_by,
                dry_run=dry_run,
                seen_event=_newest_event(model, version),
            )
            # either unique rule: the same cause again, or another open promotion
            .on_conflict_do_nothing()
            .returning(table)
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        same = select(table).where(_of(model, version), table.c.cause == cause)
        return connection.execute(same).mappings().one_or_none(), False
    _tell(connection, row["id"], "requested", PromotionState.REQUESTED, f"asked for by {source}")
    connection.execute(select(func.pg_notify(CHANNEL, model)))
    _audit_request(connection, row)
    return row, True


def _in_progress(model: str, version: int) -> PromotionInProgressError:
    return PromotionInProgressError(
        f"version {version} of {model} already has an open promotion; see `mlflow-ext promotions {model}`"
    )


def apply_step(
    connection: Connection,
    promotion: Promotion,
    event: PromotionEvent,
    *,
    note: str = "",
    values: Mapping[str, Any] | None = None,
    unheld: bool = False,
    details: Mapping[str, object] | None = None,
) -> Promotion:
    """Apply an event in the caller's transaction: new state, line of the story, notification, entry in the trail.

    Args:
        connection: In a transaction; the audit trail's chain stays locked until its end.
        promotion: As it was read; the write is fenced by its state and attempt.
        event: What happened.
        note: Why, in one sentence.
        values: As `Promotions.record` takes them.
        unheld: Only when no worker holds it.
        details: What the trail says besides.

    Raises:
        IllegalTransitionError: The state does not allow it.
        ConflictError: Somebody else changed the promotion since it was read, or a worker holds it.
    """
    state = next_state(promotion.state, event)
    columns = dict(values or {})
    files: Manifest | None = columns.pop("pin", None)
    columns = _settable(columns)
    if leaves_worker(event, state):
        columns |= {"lease_owner": None, "lease_until": None}
        if event not in KEEPS_REASON:
            columns["reason"] = note
    seen = and_(table.c.id == promotion.id, table.c.state == promotion.state, table.c.attempt == promotion.attempt)
    if unheld:
        seen = and_(seen, or_(table.c.lease_owner.is_(None), table.c.lease_until <= func.clock_timestamp()))
    row = (
        connection.execute(
            update(table).where(seen).values(state=state, updated_at=func.clock_timestamp(), **columns).returning(table)
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise ConflictError(f"promotion {promotion.id} was changed or taken over by somebody else")
    if files is not None:
        put_pin(connection, Pin(promotion.model, promotion.version, files, promotion.id))
    _tell(connection, promotion.id, event, state, note)
    connection.execute(select(func.pg_notify(CHANNEL, promotion.model)))
    _audit(connection, row, event, promotion.state, {"note": note, **(details or {})})
    return promotion_of(row)


def _tell(connection: Connection, promotion_id: int, event: str, state: PromotionState, note: str) -> None:
    connection.execute(insert(promotion_step).values(promotion_id=promotion_id, event=event, state=state, note=note))


def _audit_request(connection: Connection, row: RowMapping) -> None:
    details = {key: row[key] for key in ("source", "requested_by", "cause", "dry_run")}
    _audit(connection, row, "requested", None, details)


def _audit(
    connection: Connection, row: RowMapping, event: str, before: PromotionState | None, details: dict[str, object]
) -> None:
    append(
        connection,
        AuditEvent(
            model=row["model"],
            action=promotion_action(event),
            version=row["version"],
            before=before,
            after=row["state"],
            policy_hash=row["policy_hash"],
            evidence=evidence_digest(row["report"]),
            promotion_id=row["id"],
            details=details,
            workspace=row["workspace"],
        ),
    )


def _newest_event(model: str, version: int) -> Any:
    """Select the newest change of a version's stage; null where there is none, as without triggers."""
    event = registry_event.c
    return (
        select(func.max(event.id))
        .where(
            event.workspace == DEFAULT_WORKSPACE,
            event.model == model,
            event.version == version,
            event.kind.in_([RegistryEventKind.STAGE, RegistryEventKind.VERSION]),
        )
        .scalar_subquery()
    )


def _settable(values: Mapping[str, Any] | None) -> dict[str, Any]:
    given = dict(values or {})
    unknown = set(given) - _SETTABLE
    if unknown:
        raise TypeError(f"a promotion's step cannot set {', '.join(sorted(unknown))}")
    return given


def promotion_of(row: RowMapping) -> Promotion:
    """Read a row."""
    return Promotion(state=PromotionState(row["state"]), **{field: row[field] for field in _FIELDS})
