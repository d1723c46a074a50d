"""Tokens in `mlflow_ext.token`: made, listed, revoked, and read all at once by every scoring process."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, Engine, RowMapping, func, insert, or_, select, text, update

from mlflow_ext.domain.actors import acting
from mlflow_ext.domain.audit import AuditAction, AuditEvent
from mlflow_ext.domain.tokens import Right, Token, new_token_text, token_digest, token_id
from mlflow_ext.errors import InvalidInputError, NotFoundError
from mlflow_ext.store.audit import append
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.tables import SCHEMA
from mlflow_ext.store.token_table import token as table

CHANNEL = "mlflow_ext_token"
"""Notified of every token made or revoked, with its id."""
_TOLD_FOR = text("interval '30 days'")
"""How long a caller is told that its token has expired or was revoked; after that it is unknown."""
_FINGERPRINT = f"""
SELECT count(*) AS count, sum(hashtextextended(CAST(token AS text), 0)) AS sum FROM {SCHEMA}.token AS token
"""
_RIGHTS = frozenset(right.value for right in Right)


class Tokens:
    """The table `token`. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def create(
        self,
        rights: Iterable[Right],
        *,
        models: Iterable[str] | None = None,
        expires_at: datetime | None = None,
        note: str = "",
        owner: str = "",
    ) -> tuple[Token, str]:
        """Make a token, in the name of whoever acts.

        Args:
            rights: What it allows; at least one.
            models: Registered models that it is limited to; `None` means all.
            expires_at: From when it is refused; must lie ahead by the database's clock.
            note: What it is for.
            owner: Person who uses it; empty for a program.

        Returns:
            The token, and its text, which is kept nowhere.

        Raises:
            InvalidInputError: No right, no model, or an expiry that is over.
        """
        allowed = sorted(Right(right) for right in set(rights))
        limited = None if models is None else sorted(set(models))
        if not allowed or limited == [] or "" in (limited or ()):
            raise InvalidInputError("a token needs at least one right, and at least one model if it is limited to some")
        made = new_token_text()
        values = {
            "id": token_id(made),
            "sha256": token_digest(made),
            "rights": [right.value for right in allowed],
            "models": limited,
            "note": note,
            "created_by": acting().name,
            "owner": owner.strip(),
            "expires_at": expires_at,
        }
        with translated(), self._engine.begin() as connection:
            if expires_at is not None:
                now = connection.execute(select(func.clock_timestamp())).scalar_one()
                if expires_at <= now:
                    raise InvalidInputError(f"the token would have expired already: it is {now:%Y-%m-%d %H:%M:%S %Z}")
            row = connection.execute(insert(table).values(**values).returning(table)).mappings().one()
            connection.execute(select(func.pg_notify(CHANNEL, row["id"])))
            _write_down(connection, AuditAction.TOKEN_CREATED, row)
        return _token(row), made

    def all(self) -> list[Token]:
        """Give every token ever made, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(table).order_by(table.c.created_at, table.c.id)).mappings().all()
        return [_token(row) for row in rows]

    def fingerprint(self) -> str:
        """Give something that is another one after any change of any token; much cheaper than reading them."""
        with reading(self._engine) as connection:
            found = connection.execute(text(_FINGERPRINT)).one()
        return f"{found.count} {found.sum}"

    def in_force(self) -> list[Token]:
        """Give what a scoring process has to know: good tokens, and those that ended lately, to say so."""
        lately = func.clock_timestamp() - _TOLD_FOR
        chosen = (
            select(table)
            .where(or_(table.c.revoked_at.is_(None), table.c.revoked_at > lately))
            .where(or_(table.c.expires_at.is_(None), table.c.expires_at > lately))
            .order_by(table.c.id)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(chosen).mappings().all()
        return [_token(row) for row in rows]

    def revoke(self, id: str) -> Token:  # noqa: A002
        """Revoke a token, in the name of whoever acts; one that is revoked already stays as it is.

        Raises:
            NotFoundError: There is none with this id.
        """
        found = table.c.id == id
        change = (
            update(table)
            .where(found, table.c.revoked_at.is_(None))
            .values(revoked_at=func.clock_timestamp(), revoked_by=acting().name)
        )
        with translated(), self._engine.begin() as connection:
            changed = connection.execute(change).rowcount
            connection.execute(select(func.pg_notify(CHANNEL, id)))
            row = connection.execute(select(table).where(found)).mappings().one_or_none()
            if row is not None and changed:
                _write_down(connection, AuditAction.TOKEN_REVOKED, row)
        if row is None:
            raise NotFoundError(f"there is no token {id!r}; `mlflow-ext token list` shows those there are")
        return _token(row)


def _write_down(connection: Connection, action: AuditAction, row: RowMapping) -> None:
    """Let the audit trail tell it, in the chain that is about no model."""
    told = {"token": row["id"], "rights": row["rights"], "models": row["models"], "expires_at": row["expires_at"]}
    append(connection, AuditEvent("", action, details=told))


def _token(row: RowMapping) -> Token:
    return Token(
        id=row["id"],
        sha256=bytes(row["sha256"]),
        # a right that only a newer version of this code knows allows nothing here
        rights=frozenset(Right(right) for right in row["rights"] if right in _RIGHTS),
        models=None if row["models"] is None else frozenset(row["models"]),
        note=row["note"],
        owner=row["owner"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        revoked_by=row["revoked_by"],
    )
