"""`mlflow.model_registry_store` for PostgreSQL: MLflow's own store, with transitions of one model serialised.

Four things are different from MLflow's store, everything else is its own: there is one Production version of a model
at most (MLflow alone left two in 85 of 100 races), alias and tag writes that collide are tried again instead of
answering 400, a promotion's move is refused with 409 when its worker no longer holds it, and what the guard refuses is
answered with 403 and its words. What the guard refuses is decided in
PostgreSQL (`store/guard_functions.py`); bringing marks into agreement lives in `lifecycle/`.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any

from mlflow_ext.domain.actors import ACTOR_SETTING, SOURCE_SETTING
from mlflow_ext.domain.audit import AuditAction
from mlflow_ext.domain.events import AGREEMENT_SETTING
from mlflow_ext.domain.guard import NOT_AUDITED, REFUSED, STORE_SETTING
from mlflow_ext.domain.stages import STAGE_OF_ALIAS, STAGE_TAG, Stage
from mlflow_ext.plugins.callers import caller
from mlflow_ext.registry.agreement import CLAIM_HEADER, HEADER, claim, is_agreeing

_log = logging.getLogger(__name__)

READ_REPLICA_VARIABLE = "_MLFLOW_SERVER_READ_REPLICA_BACKEND_STORE"
"""How MLflow's server tells its stores of a read replica; `mlflow.server.constants`, which takes 2 s to import."""

_NOTE_REFUSAL = f"""
    SELECT mlflow_ext.append_audit(:workspace, :model, '{AuditAction.GUARD_REFUSED}', :version, NULL,
                                   '{Stage.PRODUCTION}', details => CAST(:note AS jsonb))
"""
_LOCK_TIMEOUT_S = 20
_TRIES = 5
_SERIALISED: ContextVar[str | None] = ContextVar("serialised_model", default=None)


def registry_store(store_uri: str) -> Any:
    """Build the store, workspace-aware where MLflow's workspaces are on.

    Args:
        store_uri: PostgreSQL URL, as MLflow was given it (server and client alike).
    """
    from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES

    store = _store_class(bool(MLFLOW_ENABLE_WORKSPACES.get()))
    return store(_with_driver(store_uri), read_db_uri=os.environ.get(READ_REPLICA_VARIABLE))


class SerialisedTransitions:
    """What we add to MLflow's registry store, over whichever of its classes."""

    def __init__(self, db_uri: str, read_db_uri: str | None = None) -> None:
        super().__init__(db_uri, read_db_uri=read_db_uri)  # type: ignore[call-arg]
        self.ManagedSessionMaker = partial(_locking_session, self.ManagedSessionMaker)  # type: ignore[has-type]

    def transition_model_version_stage(
        self, name: str, version: str, stage: str, archive_existing_versions: bool
    ) -> Any:
        """Move a version to a stage; a move to Production archives the former one, whatever the caller asked for."""
        from mlflow.entities.model_registry.model_version_stages import STAGE_PRODUCTION, get_canonical_stage

        # a version that is no number is left to MLflow, whose error depends on the flag
        production = get_canonical_stage(stage) == STAGE_PRODUCTION and str(version).isdecimal()
        archive = archive_existing_versions or production
        with self._in_turn(name):
            return super().transition_model_version_stage(name, version, stage, archive)  # type: ignore[misc]

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        with self._in_turn(name, STAGE_OF_ALIAS.get(alias)):
            _again(lambda: super(SerialisedTransitions, self).set_registered_model_alias(name, alias, version))  # type: ignore[misc]

    def set_model_version_tag(self, name: str, version: str, tag: Any) -> None:
        """Set a version tag."""
        with self._in_turn(name, Stage.parse(tag.value) if tag.key == STAGE_TAG else None):
            _again(lambda: super(SerialisedTransitions, self).set_model_version_tag(name, version, tag))  # type: ignore[misc]

    @contextmanager
    def _in_turn(self, name: str, stage: Stage | None = Stage.PRODUCTION) -> Iterator[None]:
        """Let moves of one model to Production happen one after another, by whichever mark; others wait for nobody.

        A promotion that looks who is in Production must not miss somebody who is just going there.
        """
        if stage is not Stage.PRODUCTION:
            yield
            return
        token = _SERIALISED.set(f"mlflow_ext/{self._get_active_workspace()}/{name}")  # type: ignore[attr-defined]
        try:
            yield
        finally:
            _SERIALISED.reset(token)


@contextmanager
def _locking_session(maker: Callable[..., AbstractContextManager[Any]], read_only: bool = True) -> Iterator[Any]:
    """Open a session of MLflow's; inside a transition its transaction begins with the model's lock."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    try:
        with maker(read_only=read_only) as session:
            model = _SERIALISED.get()
            if model is not None and not read_only:
                _lock(session, model)
                _hold_claim(session)
            if not read_only:
                _say_who(session)
            yield session
    except MlflowException as exc:
        if (refusal := _refusal(exc)) is not None:
            raise _refused(maker, *refusal) from exc
        if (words := _not_audited(exc)) is not None:
            raise MlflowException(words, error_code=TEMPORARILY_UNAVAILABLE) from exc
        raise


def _refusal(error: Exception) -> tuple[str, dict[str, Any]] | None:
    """Give the guard's words and what they are about; `None` for any other error."""
    driver: Any = getattr(error.__cause__, "orig", None)
    if getattr(driver, "pgcode", None) != REFUSED:
        return None
    return driver.diag.message_primary, json.loads(driver.diag.message_detail)


def _not_audited(error: Exception) -> str | None:
    """Give the words for a change that was undone because it could not be written into the trail."""
    driver: Any = getattr(error.__cause__, "orig", None)
    if getattr(driver, "pgcode", None) != NOT_AUDITED:
        return None
    return f"Nothing was changed: {driver.diag.message_primary}. Try again; if it stays so, ask who runs the database."


def _refused(maker: Callable[..., AbstractContextManager[Any]], words: str, about: dict[str, Any]) -> Exception:
    """Write down that the guard refused, in a transaction of its own, and make the error that MLflow answers with."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    _log.info("guard_refused model=%s version=%s mark=%s", about["model"], about["version"], about["mark"])
    try:
        with maker(read_only=False) as session:
            _say_who(session)
            session.execute(text(_NOTE_REFUSAL), {**about, "note": json.dumps({"note": words, "mark": about["mark"]})})
    # the refusal stands, whether or not it could be written down
    except (MlflowException, SQLAlchemyError) as exc:
        _log.warning("refusal_not_audited model=%s reason=%r", about["model"], str(exc))
    return MlflowException(words, error_code=PERMISSION_DENIED)


def _is_agreement() -> bool:
    """Tell whether this write brings marks into agreement: by the request's header, or by our own thread."""
    from flask import has_request_context, request

    return is_agreeing() or (has_request_context() and HEADER in request.headers)


def _say_who(session: Any) -> None:
    """Tell the triggers, for this transaction, who writes and whether it only brings marks into agreement."""
    from sqlalchemy import text

    who = caller()
    said = {STORE_SETTING: "on", ACTOR_SETTING: who.name, SOURCE_SETTING: who.source.value}
    if _is_agreement():
        said[AGREEMENT_SETTING] = "on"
    calls = ", ".join(f"set_config('{setting}', :v{number}, true)" for number, setting in enumerate(said))
    session.execute(text(f"SELECT {calls}"), {f"v{number}": value for number, value in enumerate(said.values())})


def _lock(session: Any, model: str) -> None:
    """Wait for the model's lock; PostgreSQL gives it back when the transaction ends, also when we are killed.

    Raises:
        MlflowException: Somebody held it for too long; answered as 503.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
    from sqlalchemy import text
    from sqlalchemy.exc import OperationalError

    # with a coarser snapshot than READ COMMITTED we would not see what the holder before us committed
    session.connection(execution_options={"isolation_level": "READ COMMITTED"})
    try:
        session.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'"))
        # who is stopped (SIGSTOP), also while it waits, keeps the lock until PostgreSQL ends its session
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '10s'"))
        session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:model, 0))"), {"model": model})
    except OperationalError as exc:
        raise MlflowException(
            f"another stage transition of this model has been going on for {_LOCK_TIMEOUT_S} s; try again",
            error_code=TEMPORARILY_UNAVAILABLE,
        ) from exc


def _hold_claim(session: Any) -> None:
    """Refuse a promotion's move that comes too late; let nobody else take the promotion over until it is done.

    Raises:
        MlflowException: The promotion was taken over, or has ended; answered as 409.
    """
    from flask import has_request_context, request
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_CONFLICT
    from sqlalchemy import text

    held = request.headers.get(CLAIM_HEADER) if has_request_context() else claim()
    if not held:
        return
    promotion_id, _, attempt = held.partition("/")
    if promotion_id.isdecimal() and attempt.isdecimal():
        values = {"id": int(promotion_id), "attempt": int(attempt)}
        if session.execute(text("SELECT mlflow_ext.hold_claim(:id, :attempt)"), values).scalar_one():
            return
    raise MlflowException(
        f"promotion {promotion_id[:20]} was taken over by another worker, has ended, or was decided before another "
        "version went to Production",
        error_code=RESOURCE_CONFLICT,
    )


def _again(write: Callable[[], None]) -> None:
    """Write, and once more when a concurrent writer was in between.

    MLflow reads the row and then inserts or updates it; two writers at once end in a unique violation (16 of 120
    concurrent alias writes) or find the row gone. The second try sees what the other one wrote.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import IntegrityError
    from sqlalchemy.orm.exc import StaleDataError

    for left in reversed(range(_TRIES)):
        try:
            write()
        except MlflowException as exc:
            if left == 0 or not isinstance(exc.__cause__, IntegrityError | StaleDataError):
                raise
        else:
            return


@lru_cache
def _store_class(workspaces: bool) -> type[Any]:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
    from mlflow.store.model_registry.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore

    base = WorkspaceAwareSqlAlchemyStore if workspaces else SqlAlchemyStore
    return type(f"Lifecycle{base.__name__}", (SerialisedTransitions, base), {})


def _with_driver(store_uri: str) -> str:
    """Name the driver that we bring along: SQLAlchemy 2.1 reads a bare `postgresql://` as psycopg 3."""
    from mlflow_ext.config import normalise_database_url

    return store_uri if find_spec("psycopg") else normalise_database_url(store_uri)
