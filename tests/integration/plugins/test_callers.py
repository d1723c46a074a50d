"""Who the audit trail names, by which way a change came through MLflow's real server."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine

from mlflow_ext.domain.actors import Actor, Source, acting_as, local_actor
from mlflow_ext.plugins.registry_store import registry_store
from mlflow_ext.registry.agreement import ACTOR_HEADER, agreeing
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.engine import make_engine

STAGES = pytest.mark.filterwarnings("ignore:.*stages.*:FutureWarning")


@pytest.fixture(scope="module")
def trail(mlflow_database_url: str) -> SqlAudit:
    """The trail of the server's database."""
    return SqlAudit(make_engine(mlflow_database_url))


def post(url: str, **body: str) -> None:
    """Call MLflow's REST API without its client."""
    httpx.post(url, json=body, timeout=30).raise_for_status()


def test_ui_and_plain_api_are_anonymous_with_their_address(mlflow_url: str, trail: SqlAudit) -> None:
    """Without authentication nobody has a name; the way is known by the address that was called."""
    MlflowClient(mlflow_url, mlflow_url).create_registered_model("who_ui")
    for route in ("api", "ajax-api"):
        post(f"{mlflow_url}/{route}/2.0/mlflow/model-versions/create", name="who_ui", source="s3://bucket/m")
    found = [(entry.actor, entry.source) for entry in trail.entries("who_ui")]
    assert found == [("anonymous@127.0.0.1", "api"), ("anonymous@127.0.0.1", "ui")]


@STAGES
def test_clients_with_the_plugin_say_who_they_are(mlflow_url: str, trail: SqlAudit) -> None:
    """A notebook is its user at its machine; a robot says so; a name cannot be passed off as one that was proven."""
    client = MlflowClient(mlflow_url, mlflow_url)
    client.create_registered_model("who_python")
    client.create_model_version("who_python", "s3://bucket/m")
    with acting_as(Actor("robot:wörker", Source.ROBOT)):
        client.transition_model_version_stage("who_python", "1", "Staging")
    with acting_as(Actor("alice", Source.REST)), agreeing():
        client.set_registered_model_alias("who_python", "staging", "1")
    entries = trail.entries("who_python")
    me = local_actor(Source.PYTHON).name
    assert [(entry.action, entry.actor, entry.source) for entry in entries] == [
        ("version:registered", me, "python"),
        ("version:stage", "robot:wörker", "robot"),
        ("alias:set", "anonymous@127.0.0.1", "api"),
    ]
    assert ['"agreement": true' in entry.details for entry in entries] == [False, False, True]


def test_a_store_without_a_server_names_the_process(database_url: str, engine: Engine) -> None:
    """A registry URI that is the database itself: whoever runs the process."""
    store: Any = registry_store(database_url)
    store.create_registered_model("wine")
    store.create_model_version("wine", "s3://bucket/model")
    (entry,) = SqlAudit(engine).entries("wine")
    assert (entry.actor, entry.source) == (local_actor(Source.PYTHON).name, "python")


@pytest.mark.parametrize("line", ["", "ui", "ui alice", "sql sql:postgres", "elsewhere elsewhere:alice", "cli alice"])
def test_claims_that_are_none_are_ignored(line: str) -> None:
    """A claim has a way that a client may come by, and that way before its name."""
    assert Actor.parse(line) is None
    assert Actor.parse(str(Actor("cli:alice@host", Source.CLI))) == Actor("cli:alice@host", Source.CLI)


def test_mlflows_authenticated_user_is_named_alone() -> None:
    """With MLflow's authentication on, its user is the actor, whatever the header says; the way stays."""
    from flask import Flask

    from mlflow_ext.plugins.callers import caller

    app = Flask("mlflow")

    def check() -> None:
        """Stand in for the check that MLflow's authentication registers; known by its module."""

    check.__module__ = "mlflow.server.auth"
    named: Callable[..., Any] = app.test_request_context
    with named("/ajax-api/2.0/mlflow/x", auth=("alice", "secret")):
        assert caller().name.startswith("anonymous@")
    app.before_request(check)
    with named("/ajax-api/2.0/mlflow/x", auth=("alice", "secret")):
        assert caller() == Actor("alice", Source.UI)
    with named("/api/2.0/mlflow/x", auth=("alice", "secret"), headers={ACTOR_HEADER: "cli cli:bob@host"}):
        assert caller() == Actor("alice", Source.CLI)
