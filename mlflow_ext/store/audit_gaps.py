"""Registry changes that the trail does not have, because their entry failed: written down later, and marked as late.

Where a model is guarded there are none: the change fails with its entry (`audit_functions.py`). Who looks: the
promotion worker.
"""

import logging

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from mlflow_ext.domain.audit import AuditAction
from mlflow_ext.domain.audit_replay import LATE
from mlflow_ext.domain.stages import STAGE_TAG
from mlflow_ext.errors import UnavailableError
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.tables import SCHEMA

_log = logging.getLogger(__name__)

_LOCK = 0x6D6C_6761  # "mlga": two workers at once would write the same entry twice

# an event and its entry are committed together, so what is to be seen without an entry will never get one by itself;
# transactions that may still be running are looked at again the next time
_GAPS = f"""
    SELECT e.id, e.model FROM {SCHEMA}.registry_event e
    WHERE e.xact >= CAST(:since AS xid8) AND (e.kind <> 'tag' OR e.key = '{STAGE_TAG}')
      AND e.id > (SELECT min(coalesce((a.details->>'last_event')::bigint, 0)) FROM {SCHEMA}.audit a
                  WHERE a.action = '{AuditAction.TRAIL_OPENED}' AND a.model = '')
      AND NOT EXISTS (SELECT FROM {SCHEMA}.audit a WHERE a.event_id = e.id)
    ORDER BY e.id
"""
_NOW = "SELECT CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text)"

_FILL = f"""
    SELECT {SCHEMA}.audit_event(e, jsonb_build_object('{LATE}', to_char(
        e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))
    FROM {SCHEMA}.registry_event e
    WHERE e.id = :id AND NOT EXISTS (SELECT FROM {SCHEMA}.audit a WHERE a.event_id = e.id)
"""


class AuditGaps:
    """Finds and fills them; remembers up to where there are none."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine
        self._since = "0"

    def fill(self) -> int:
        """Write the entries that are missing, of all workspaces.

        An entry says in its details when the change was made; its actor is who made it.

        Returns:
            How many there were.

        Raises:
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        with reading(self._engine) as connection:
            now = str(connection.execute(text(_NOW)).scalar_one())
            gaps = connection.execute(text(_GAPS), {"since": self._since}).all()
        left = False
        for event_id, model in gaps:
            try:
                with translated(), self._engine.begin() as connection:
                    connection.execute(text("SET LOCAL lock_timeout = '2s'"))
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                    connection.execute(text(_FILL), {"id": event_id})
            except (DBAPIError, UnavailableError) as exc:
                # what made the entry fail may still be there; the other models' entries do not wait for it
                left = True
                _log.warning("audit_gap_left model=%s event=%s reason=%r", model, event_id, str(exc).partition("\n")[0])
            else:
                _log.warning("audit_gap_filled model=%s event=%s", model, event_id)
        if not left:
            self._since = now
        return len(gaps)
