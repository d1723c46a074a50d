"""The `Approvals` port on PostgreSQL: a person's word, and what it does to the promotion, in one transaction.

Who counts, and how many are needed: `domain/approval.py`.
"""

from sqlalchemy import Connection, Engine, insert, select, text

from mlflow_ext.domain.approval import Approval, effect, requirement, words
from mlflow_ext.domain.audit import AuditAction
from mlflow_ext.domain.promotion import Promotion, PromotionEvent, next_state
from mlflow_ext.store.decision_tables import approval as table
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.promotions import apply_step, promotion_of
from mlflow_ext.store.tables import SCHEMA
from mlflow_ext.store.tables import promotion as promotions

_HAS_REGISTRY = "SELECT to_regclass('model_versions') IS NOT NULL"

# whoever ran the training, whoever registered the version; MLflow's user names stand alone
_AUTHORS = """
    SELECT v.user_id FROM model_versions v WHERE v.workspace = :workspace AND v.name = :model AND v.version = :version
    UNION SELECT r.user_id FROM runs r JOIN model_versions v ON v.run_id = r.run_uuid
    WHERE v.workspace = :workspace AND v.name = :model AND v.version = :version
    UNION SELECT t.value FROM tags t JOIN model_versions v ON v.run_id = t.run_uuid AND t.key = 'mlflow.user'
    WHERE v.workspace = :workspace AND v.name = :model AND v.version = :version
"""

_REGISTERED_BY = f"""
    SELECT actor FROM {SCHEMA}.audit WHERE workspace = :workspace AND model = :model AND version = :version
    AND action = '{AuditAction.VERSION_REGISTERED}'
"""


class SqlApprovals:
    """Approvals in `mlflow_ext.approval`."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def give(self, promotion: Promotion, actor: str, comment: str, champion: int | None = None) -> Promotion:
        """Count somebody's approval; the last one that is needed lets the promotion go on."""
        with translated(), self._engine.begin() as connection:
            # whoever else gives a word waits here
            row = (
                connection.execute(select(promotions).where(promotions.c.id == promotion.id).with_for_update())
                .mappings()
                .one()
            )
            now = promotion_of(row)
            given = _of(connection, promotion.id)
            if any(one.actor == actor for one in given):
                return now
            next_state(now.state, PromotionEvent.AGREED)
            said = effect(requirement(now.report), given, actor, _authors(connection, now))
            if said is None:
                return now
            event, person = said
            connection.execute(insert(table).values(promotion_id=now.id, person=person, actor=actor, comment=comment))
            note = f"approved by {words([*given, Approval(person, actor, comment)])}"
            details = {"approved_by": actor, "comment": comment}
            values = {} if champion is None else {"champion_version": champion}
            return apply_step(connection, now, event, note=note, values=values, details=details)

    def of(self, promotion_id: int) -> list[Approval]:
        """Give the words that count, oldest first."""
        with reading(self._engine) as connection:
            return _of(connection, promotion_id)


def _of(connection: Connection, promotion_id: int) -> list[Approval]:
    query = (
        select(table.c.person, table.c.actor, table.c.comment, table.c.at)
        .where(table.c.promotion_id == promotion_id)
        .order_by(table.c.at, table.c.person)
    )
    return [Approval(*row) for row in connection.execute(query)]


def _authors(connection: Connection, promotion: Promotion) -> set[str]:
    """Name who made the version and who asked for its promotion, as far as anything knows."""
    names = {promotion.requested_by}
    values = {"workspace": promotion.workspace, "model": promotion.model, "version": promotion.version}
    names |= set(connection.execute(text(_REGISTERED_BY), values).scalars())
    if connection.execute(text(_HAS_REGISTRY)).scalar_one():
        names |= set(connection.execute(text(_AUTHORS), values).scalars())
    return {name for name in names if name}
