"""Making the policies' guard modes known to the database, where they are held. By whom: `serving/worker.py`."""

import json
from collections.abc import Mapping

from sqlalchemy import Engine, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from mlflow_ext.domain.actors import Source
from mlflow_ext.domain.audit import AuditAction
from mlflow_ext.domain.guard import GuardMode
from mlflow_ext.domain.stages import Stage
from mlflow_ext.store.audit import say_who
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.guard_table import guard as table
from mlflow_ext.store.tables import DEFAULT_WORKSPACE, SCHEMA

_LOCK = 0x6D6C_6775  # "mlgu": workers that start together write one after the other

_REFUSALS = f"""
    SELECT c.total, coalesce((SELECT max((details->>'refusals')::bigint) FROM {SCHEMA}.audit
                              WHERE action = '{AuditAction.GUARD_REFUSED}' AND source = '{Source.SQL}'), 0) AS known,
        coalesce((SELECT rolname FROM pg_roles WHERE oid::bigint = l.last_value >> 31), 'unknown') AS role,
        (SELECT name FROM registered_models WHERE workspace = :workspace
         AND {SCHEMA}.guard_name_hash(workspace, name) = l.last_value & 2147483647 LIMIT 1) AS model
    FROM (SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS total FROM {SCHEMA}.guard_refusals) AS c,
        {SCHEMA}.guard_refused_last AS l
"""

_NOTE_REFUSALS = f"""
    SELECT {SCHEMA}.append_audit(
        :workspace, :model, '{AuditAction.GUARD_REFUSED}', NULL, NULL, '{Stage.PRODUCTION}',
        actor => :actor, source => '{Source.SQL}', details => CAST(:details AS jsonb))
"""


class Guard:
    """Which models are guarded, and how."""

    def __init__(self, engine: Engine, workspace: str = DEFAULT_WORKSPACE) -> None:
        """Take the database, and the workspace whose models the policies mean."""
        self._engine = engine
        self._workspace = workspace

    def set_modes(self, default: GuardMode, models: Mapping[str, GuardMode]) -> None:
        """Let these modes hold from now on; each change is an entry in the audit trail.

        Args:
            default: For every model that is not named.
            models: Modes by model.

        Raises:
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        wanted = {"": default.value} | {model: mode.value for model, mode in models.items()}
        with translated(), self._engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            say_who(connection)
            here = table.c.workspace == self._workspace
            known = {row.model: row.mode for row in connection.execute(select(table).where(here))}
            for model, mode in sorted(wanted.items()):
                if known.get(model) != mode:
                    connection.execute(
                        upsert(table)
                        .values(workspace=self._workspace, model=model, mode=mode)
                        .on_conflict_do_update(
                            index_elements=["workspace", "model"],
                            set_={"mode": mode, "set_at": func.clock_timestamp()},
                        )
                    )
            gone = sorted(known.keys() - wanted.keys())
            if gone:
                connection.execute(delete(table).where(here, table.c.model.in_(gone)))

    def note_refusals(self) -> int:
        """Write down what the triggers refused to plain SQL since the last call.

        A refused statement's transaction is undone, with all it could write; what is left are a count, and role and
        model of the last one, in two sequences.

        Returns:
            How many there were.

        Raises:
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        with translated(), self._engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            found = connection.execute(text(_REFUSALS), {"workspace": self._workspace}).mappings().one()
            fresh = int(found["total"] - found["known"])
            if fresh <= 0:
                return 0
            note = f"{fresh} by SQL since the last look; the last by {found['role']}" if fresh > 1 else "by SQL"
            values = {
                "workspace": self._workspace,
                "model": found["model"] or "",
                "actor": f"sql:{found['role']}",
                "details": json.dumps({"note": note, "refusals": found["total"]}),
            }
            connection.execute(text(_NOTE_REFUSALS), values)
            return fresh

    def mode(self, model: str) -> GuardMode:
        """Give the mode that holds for a model.

        Raises:
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        query = text(f"SELECT {SCHEMA}.guard_mode(:workspace, :model)")
        with reading(self._engine) as connection:
            return GuardMode(connection.execute(query, {"workspace": self._workspace, "model": model}).scalar_one())
