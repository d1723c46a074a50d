"""A registry change whose audit entry fails: undone where the model is guarded, else written down later."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from mlflow_ext.domain.actors import Actor, Source, acting_as
from mlflow_ext.domain.audit_replay import in_production
from mlflow_ext.domain.guard import NOT_AUDITED, GuardMode
from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.audit_gaps import AuditGaps
from mlflow_ext.store.guard import Guard

pytestmark = pytest.mark.filterwarnings("ignore:.*stages.*:FutureWarning")

ALICE = Actor("alice", Source.REST)

BREAKAGES = {
    "the trail refuses": (
        "ALTER TABLE mlflow_ext.audit ADD CONSTRAINT never CHECK (model <> 'wine' OR action LIKE 'guard:%') NOT VALID",
        "ALTER TABLE mlflow_ext.audit DROP CONSTRAINT never",
    ),
    "the outbox refuses": (
        "ALTER TABLE mlflow_ext.registry_event ADD CONSTRAINT never CHECK (model <> 'wine') NOT VALID",
        "ALTER TABLE mlflow_ext.registry_event DROP CONSTRAINT never",
    ),
    "the hash is gone": (
        "ALTER FUNCTION mlflow_ext.audit_hash(mlflow_ext.audit) RENAME TO elsewhere",
        "ALTER FUNCTION mlflow_ext.elsewhere(mlflow_ext.audit) RENAME TO audit_hash",
    ),
}

CHANGES: dict[str, Callable[[MlflowClient], object]] = {
    "stage": lambda client: client.transition_model_version_stage("wine", "1", "Staging"),
    "alias": lambda client: client.set_registered_model_alias("wine", "staging", "1"),
    "tag": lambda client: client.set_model_version_tag("wine", "1", "stage", "Staging"),
    "version": lambda client: client.create_model_version("wine", "s3://bucket/more"),
    "deleted": lambda client: client.delete_model_version("wine", "1"),
}


@contextmanager
def broken(engine: Engine, what: str) -> Iterator[None]:
    """Break the trail for a while."""
    damage, repair = BREAKAGES[what]
    with engine.begin() as connection:
        connection.execute(text(damage))
    yield
    with engine.begin() as connection:
        connection.execute(text(repair))


@pytest.mark.parametrize("what", BREAKAGES)
def test_a_guarded_model_does_not_change_unaudited(engine: Engine, client: MlflowClient, what: str) -> None:
    """Each kind of change fails with its entry, in words, and works again once the trail does."""
    Guard(engine).set_modes(GuardMode.WARN, {"wine": GuardMode.ENFORCE})
    before = client.get_model_version("wine", "1")
    with broken(engine, what):
        for change in CHANGES.values():
            with pytest.raises(MlflowException, match="Nothing was changed: this model is guarded") as refused:
                change(client)
            assert refused.value.error_code == "TEMPORARILY_UNAVAILABLE"
        with pytest.raises(DBAPIError) as by_sql, engine.begin() as connection:
            connection.execute(text("UPDATE model_versions SET current_stage = 'Archived' WHERE name = 'wine'"))
        assert getattr(by_sql.value.orig, "pgcode", "") == NOT_AUDITED
        # what the trail does not tell of goes on
        client.set_model_version_tag("wine", "1", "team", "red")
    after = client.get_model_version("wine", "1")
    assert (after.current_stage, after.aliases) == (before.current_stage, before.aliases)
    assert len(client.search_model_versions("name = 'wine'")) == 1
    for change in CHANGES.values():
        change(client)
    assert SqlAudit(engine).verify() == []


def test_a_locked_trail_holds_a_guarded_models_change_up_for_seconds_and_then_undoes_it(
    engine: Engine, client: MlflowClient
) -> None:
    """Somebody who holds the chain does not let a change pass unseen."""
    Guard(engine).set_modes(GuardMode.WARN, {"wine": GuardMode.ENFORCE})
    with engine.begin() as connection:
        connection.execute(text("SELECT FROM mlflow_ext.audit_head WHERE model = 'wine' FOR UPDATE"))
        with pytest.raises(MlflowException, match="lock timeout"):
            CHANGES["stage"](client)
    assert client.get_model_version("wine", "1").current_stage == "None"


def test_other_models_changes_are_written_down_later(engine: Engine, client: MlflowClient) -> None:
    """MLflow goes on; `verify` names what is missing until the worker has made it good, with who did it and when."""
    trail, gaps = SqlAudit(engine), AuditGaps(engine)
    assert gaps.fill() == 0
    with acting_as(ALICE), broken(engine, "the trail refuses"):
        MlflowRegistry(client).set_stage("wine", 1, Stage.STAGING)
        MlflowRegistry(client).set_stage("wine", 1, Stage.PRODUCTION)
        assert "is not in the trail" in trail.verify()[0].problem
        assert gaps.fill() == 2  # in vain
    MlflowRegistry(client).set_stage("wine", 1, Stage.ARCHIVED)
    assert len(trail.verify()) >= 2
    assert [gaps.fill(), gaps.fill(), AuditGaps(engine).fill()] == [2, 0, 0]
    assert trail.verify() == []
    entries = trail.entries("wine")
    assert [(e.action, e.after, e.actor) for e in entries if '"late"' in e.details] == [
        ("version:stage", "Staging", "alice"),
        ("version:stage", "Production", "alice"),
        ("guard:warned", "Production", "alice"),
    ]
    # they stand at the chain's end and tell of what was before
    assert [e.after for e in entries if e.action == "version:stage"] == ["Archived", "Staging", "Production"]
    assert in_production("wine", entries).version is None
