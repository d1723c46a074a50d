"""The engine: how we connect, and which connection errors mean "try again later"."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError

from mlflow_ext.config import normalise_database_url
from mlflow_ext.errors import UnavailableError


def make_engine(
    database_url: str, *, name: str = "mlflow-ext", pool_size: int = 5, answer_within_s: float | None = None
) -> Engine:
    """Make an engine whose sessions cannot hold a lock for ever.

    A stopped process (SIGSTOP) inside a transaction would keep its locks; PostgreSQL ends such a session after 15 s.

    Args:
        database_url: PostgreSQL.
        name: How the sessions are called in `pg_stat_activity`.
        pool_size: Connections that are kept.
        answer_within_s: Give up sooner: on a server that does not take a connection, on a statement, and on a network
            that swallows what is sent, which would otherwise be waited for some fifteen minutes.
    """
    options = "-c idle_in_transaction_session_timeout=15000 -c lock_timeout=30000 -c timezone=UTC"
    impatient: dict[str, object] = {}
    if answer_within_s is not None:
        within_ms = round(answer_within_s * 1000)
        options += f" -c statement_timeout={within_ms}"
        impatient = {"connect_timeout": max(2, round(answer_within_s)), "tcp_user_timeout": within_ms}
    return create_engine(
        normalise_database_url(database_url),
        pool_size=pool_size,
        pool_pre_ping=True,
        connect_args={
            "application_name": name,
            "connect_timeout": 10,
            "options": options,
            **impatient,
        },
    )


_moment: ContextVar[Connection | None] = ContextVar("moment", default=None)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection to read from: that of the moment around it, else each statement reads what is committed then.

    A transaction without need would be two round trips more.

    Raises:
        UnavailableError: The database does not answer, or has not the tables.
    """
    around = _moment.get()
    with translated():
        if around is not None and around.engine is engine:
            yield around
        else:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                yield connection


@contextmanager
def moment(engine: Engine) -> Iterator[None]:
    """Let everything that this thread reads inside be of one moment; what is written inside goes its own way.

    Raises:
        UnavailableError: The database does not answer.
    """
    with translated(), engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        token = _moment.set(connection)
        try:
            yield
        finally:
            _moment.reset(token)


_NO_TABLE = frozenset({"42P01", "3F000", "42883"})  # undefined_table, invalid_schema_name, undefined_function


@contextmanager
def translated() -> Iterator[None]:
    """Turn a lost or refused connection, and a database without the tables, into `UnavailableError`."""
    try:
        yield
    except (OperationalError, InterfaceError) as exc:
        raise UnavailableError(f"PostgreSQL does not answer: {str(exc.orig).strip()}") from exc
    except ProgrammingError as exc:
        if getattr(exc.orig, "pgcode", None) not in _NO_TABLE:
            raise
        missing = str(exc.orig).partition("\n")[0]
        raise UnavailableError(f"the database is not set up: {missing}; run `mlflow-ext db upgrade`") from exc
