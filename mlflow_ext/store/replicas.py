"""Which processes of ours are alive: each announces itself, gives a sign of life every few seconds, and says goodbye.

Only the database's clock counts, so that machines with different clocks agree on who is alive.
"""

import os
import secrets
import socket
from typing import Any

from sqlalchemy import Engine, delete, func, insert, select, text, update

from mlflow_ext.domain.replicas import Replica, Role
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.tables import replica

BEAT_S = 3.0
"""How often a process gives a sign of life."""
MAX_AGE_S = 15.0
"""After this long without one it counts as dead."""
_FORGET_AFTER = text("interval '1 day'")


def new_replica_id() -> str:
    """Make an id that is unique among the living: host, pid and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Replicas:
    """The living processes in the table `replica`. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def announce(self, id: str, role: str, url: str | None, state: dict[str, Any]) -> None:  # noqa: A002
        """Enter a process, or enter it anew under the same id; long dead ones are forgotten on the way."""
        row = {"role": Role(role).value, "host": socket.gethostname(), "pid": os.getpid(), "url": url, "state": state}
        now = func.clock_timestamp()
        with translated(), self._engine.begin() as connection:
            connection.execute(
                delete(replica).where((replica.c.heartbeat_at < now - _FORGET_AFTER) | (replica.c.id == id))
            )
            connection.execute(insert(replica).values(id=id, started_at=now, heartbeat_at=now, **row))

    def beat(self, id: str, state: dict[str, Any]) -> bool:  # noqa: A002
        """Give a sign of life with the present state; False means that the row is gone: announce again."""
        change = update(replica).where(replica.c.id == id).values(state=state, heartbeat_at=func.clock_timestamp())
        with translated(), self._engine.begin() as connection:
            return connection.execute(change).rowcount == 1

    def leave(self, id: str) -> None:  # noqa: A002
        """Say goodbye; nothing happens for an unknown id."""
        with translated(), self._engine.begin() as connection:
            connection.execute(delete(replica).where(replica.c.id == id))

    def living(self, max_age_s: float = MAX_AGE_S, role: str | None = None) -> list[Replica]:
        """Give the processes with a sign of life within `max_age_s` seconds, by role and start, oldest first."""
        age = func.extract("epoch", func.clock_timestamp() - replica.c.heartbeat_at)
        chosen = (
            select(replica, age.label("age_s")).where(age <= max_age_s).order_by(replica.c.role, replica.c.started_at)
        )
        if role is not None:
            chosen = chosen.where(replica.c.role == Role(role).value)
        with reading(self._engine) as connection:
            rows = connection.execute(chosen).mappings().all()
        return [
            Replica(**{**row, "role": Role(row["role"]), "age_s": float(row["age_s"]), "state": row["state"] or {}})
            for row in rows
        ]
