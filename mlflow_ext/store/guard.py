"""Making the policies' guard modes known to the database, where they are held. By whom: `serving/worker.py`."""

from collections.abc import Mapping

from sqlalchemy import Engine, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from mlflow_ext.domain.guard import GuardMode
from mlflow_ext.store.audit import say_who
from mlflow_ext.store.engine import translated
from mlflow_ext.store.guard_table import guard as table
from mlflow_ext.store.tables import DEFAULT_WORKSPACE, SCHEMA

_LOCK = 0x6D6C_6775  # "mlgu": workers that start together write one after the other


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

    def mode(self, model: str) -> GuardMode:
        """Give the mode that holds for a model.

        Raises:
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        query = text(f"SELECT {SCHEMA}.guard_mode(:workspace, :model)")
        with translated(), self._engine.connect() as connection:
            return GuardMode(connection.execute(query, {"workspace": self._workspace, "model": model}).scalar_one())
