"""Alerts told to each channel until it has taken the message. What raises and resolves them: `alert_raising.py`.

When people are told is a rule (`mlflow_ext/domain/alerts.py`); how, `drift/channels/`.
"""

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, and_, exists, func, insert, or_, select, text, update

from mlflow_ext.domain.alerts import Alert, AlertState, Notice, Telling, Told, telling
from mlflow_ext.errors import UnavailableError
from mlflow_ext.policy import AlertPolicy
from mlflow_ext.store.alert_raising import DRIFT
from mlflow_ext.store.alert_tables import alert_delivery
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.tables import alert, drift_check

MAX_ATTEMPTS = 30
"""After this many attempts (over a day, with the back-off) a message is given up; it stays in the table."""
_LONGEST_WAIT_S = 3_600.0
_STORED = [alert.c[name] for name in Alert.__slots__ if name != "run_id"]
_WITH_RUN = (
    select(*_STORED, drift_check.c.run_id)
    .select_from(alert.outerjoin(drift_check, drift_check.c.id == alert.c.check_id))
    .order_by(alert.c.id)
)


class Alerts:
    """The tables `alert` and `alert_delivery`. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def route(
        self,
        policy_of: Callable[[str], AlertPolicy],
        channels: Collection[str],
        *,
        group_by: str,
        group_wait_s: float,
        run_wait_s: float,
    ) -> int:
        """Enter a message for each channel about each alert that people are to be told of now; gives their number.

        Args:
            policy_of: How a model's alerts are told.
            channels: Where to.
            group_by: What alerts in one message have in common: `kind`, `model` or `none`.
            group_wait_s: Seconds in which alerts are gathered into one message.
            run_wait_s: Seconds that a new alert waits for its MLflow run.
        """
        row = alert.c
        changed = row.notified.is_distinct_from(row.state)
        again = and_(row.state == AlertState.FIRING, row.last_seen_at > row.notified_at)
        due = _WITH_RUN.where(or_(changed, again)).with_for_update(skip_locked=True, of=alert)
        entered = 0
        with translated(), self._engine.begin() as connection:
            now = connection.execute(select(func.clock_timestamp())).scalar_one()
            later = now + timedelta(seconds=group_wait_s)
            for found in connection.execute(due).mappings().all():
                one, policy = _alert(found), policy_of(found["model"])
                severity = policy.severity_of(one.details)
                decision = telling(
                    one,
                    now,
                    severity=severity,
                    told_before=_told_before(connection, one),
                    cooldown_s=policy.cooldown_s,
                    repeat_s=policy.repeat_s,
                    run_wait_s=run_wait_s,
                )
                if decision is Telling.WAIT:
                    continue
                change: dict[str, Any] = {"notified": one.state.value}
                if decision is Telling.TELL:
                    notices = one.notices + 1
                    change |= {"notified_at": now, "notices": notices, "severity": severity}
                    group = f"alert={one.id}" if group_by == "none" else f"{group_by}={getattr(one, group_by)}"
                    rows = [
                        {
                            "alert_id": one.id,
                            "state": one.state.value,
                            "notice": notices,
                            "channel": channel,
                            "group_key": group,
                            "next_attempt_at": later,
                        }
                        for channel in sorted(channels)
                    ]
                    if rows:
                        connection.execute(insert(alert_delivery), rows)
                    entered += len(rows)
                connection.execute(update(alert).where(row.id == one.id).values(change))
        return entered

    def deliver_next(self, send: Callable[[Notice], None]) -> bool:
        """Hand the oldest message that is due to `send`; False when there is none.

        Its rows stay locked meanwhile, so that other schedulers pass them by. `send` must end within 30 s. A killed
        deliverer may leave a message that was sent and not noted: it is sent once more, under the same id.

        Args:
            send: Delivers, or raises `UnavailableError`: the message then waits, longer each time.
        """
        row, former = alert_delivery.c, alert_delivery.alias("former").c
        # nobody hears that something is over before they hear that it began
        first = ~exists().where(
            *(former.alert_id == row.alert_id, former.channel == row.channel, former.id < row.id),
            *(former.delivered_at.is_(None), former.attempts < MAX_ATTEMPTS),
        )
        open_ = (row.delivered_at.is_(None), row.attempts < MAX_ATTEMPTS, first)
        due = (
            select(alert_delivery)
            .where(*open_, row.next_attempt_at <= func.clock_timestamp())
            .order_by(row.next_attempt_at, row.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with translated(), self._engine.begin() as connection:
            head = connection.execute(due).mappings().one_or_none()
            if head is None:
                return False
            same = (
                row.batch == head["batch"]
                if head["batch"] is not None
                else and_(row.batch.is_(None), row.channel == head["channel"], row.group_key == head["group_key"])
            )
            rows = (
                connection.execute(
                    select(alert_delivery).where(*open_, same).order_by(row.id).with_for_update(skip_locked=True)
                )
                .mappings()
                .all()
            )
            batch, attempts = head["batch"] or head["id"], head["attempts"] + 1
            change: dict[str, Any] = {"attempts": attempts, "batch": batch}
            try:
                send(_notice(connection, batch, rows))
            except UnavailableError as exc:
                wait_s = min(2.0 ** min(attempts, 20), _LONGEST_WAIT_S)
                later = func.clock_timestamp() + text(f"interval '{wait_s:.3f} seconds'")
                change |= {"last_error": str(exc)[:1000], "next_attempt_at": later}
            else:
                change |= {"last_error": None, "delivered_at": func.clock_timestamp()}
            ids = [one["id"] for one in rows]
            connection.execute(update(alert_delivery).where(row.id.in_(ids)).values(change))
            return True

    def attach(self, check_id: int, picture: bytes) -> None:
        """Keep the picture of the check that the alert about drift was seen by last."""
        seen = (alert.c.check_id == check_id, alert.c.kind == DRIFT)
        with translated(), self._engine.begin() as connection:
            connection.execute(update(alert).where(*seen).values(picture=picture))

    def find(self, model: str | None = None, limit: int = 100, *, firing: bool = False) -> list[Alert]:
        """Give alerts, newest first; on demand only those that go on."""
        chosen = _WITH_RUN.order_by(None).order_by(alert.c.id.desc()).limit(limit)
        if model is not None:
            chosen = chosen.where(alert.c.model == model)
        if firing:
            chosen = chosen.where(alert.c.state == AlertState.FIRING)
        with reading(self._engine) as connection:
            return [_alert(row) for row in connection.execute(chosen).mappings()]

    def waiting(self) -> dict[str, int]:
        """Give the number of messages that no channel has taken yet, by channel."""
        row = alert_delivery.c
        chosen = select(row.channel, func.count()).where(row.delivered_at.is_(None)).group_by(row.channel)
        with reading(self._engine) as connection:
            return dict(connection.execute(chosen).tuples().all())


def _told_before(connection: Connection, one: Alert) -> Any:
    row = alert.c
    others = (row.model == one.model, row.kind == one.kind, row.id < one.id, row.notices > 0)
    return connection.execute(select(func.max(row.notified_at)).where(*others)).scalar()


def _notice(connection: Connection, batch: int, rows: Collection[RowMapping]) -> Notice:
    ids = {row["alert_id"] for row in rows}
    found = {
        row["id"]: _alert(row) for row in connection.execute(_WITH_RUN.where(alert.c.id.in_(ids))).mappings().all()
    }
    first = next(iter(rows))
    told = tuple(Told(found[row["alert_id"]], AlertState(row["state"])) for row in rows)
    return Notice(batch, first["channel"], first["group_key"], told)


def _alert(row: RowMapping) -> Alert:
    values = {name: row[name] for name in Alert.__slots__}
    notified = None if values["notified"] is None else AlertState(values["notified"])
    picture = None if values["picture"] is None else bytes(values["picture"])
    details = values["details"] or {}
    changed = {"state": AlertState(values["state"]), "notified": notified, "picture": picture, "details": details}
    return Alert(**{**values, **changed})
