"""The registry store: MLflow's behaviour, with one Production always."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Engine, text

from mlflow_ext.plugins.registry_store import READ_REPLICA_VARIABLE, registry_store
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.engine import make_engine
from tests.conftest import answers, clone_database, free_port, wait_until
from tests.integration.plugins.registry_calls import play

ROOT = Path(__file__).parents[3]
ours = pytest.mark.filterwarnings("ignore:.*stages.*:FutureWarning")


def client_over(store: SqlAlchemyStore) -> MlflowClient:
    """MLflow's client on one store object."""
    url = store.engine.url.render_as_string(hide_password=False)
    client = MlflowClient(url, url)
    registry = client._get_registry_client()
    registry.__class__ = type("Bound", (registry.__class__,), {"store": store})
    return client


@pytest.fixture
def second_database_url(postgres: str, template_database: str) -> Iterator[str]:
    """One more migrated database."""
    yield from clone_database(postgres, template_database)


@pytest.fixture(scope="module")
def stock_url(postgres: str, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of MLflow's server with its own registry store."""
    directory = tmp_path_factory.mktemp("stock")
    port = free_port()
    databases = clone_database(postgres, template_database)
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "tests.integration.plugins.stock_server:app"),
                *("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"),
            ],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "_MLFLOW_SERVER_FILE_STORE": next(databases)},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/health"), 60, lambda: (directory / "server.log").read_text())
        yield url
    finally:
        process.terminate()
        process.wait(20)
        databases.close()


def test_every_call_on_the_store_answers_as_on_mlflows(database_url: str, second_database_url: str) -> None:
    """The whole conversation, store object against store object: answers, errors and their codes are equal."""
    stock = play(client_over(SqlAlchemyStore(second_database_url)))
    assert play(client_over(registry_store(database_url))) == stock
    failed = [name for name, answer in stock if isinstance(answer, dict) and "error" in answer]
    assert len(stock) > 100
    assert len(failed) > 30


def test_every_call_on_the_server_answers_as_on_mlflows(
    mlflow_url: str, stock_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same over HTTP: MLflow's server with its own store, and `mlflow server --app-name mlflow-ext`."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert play(MlflowClient(mlflow_url, mlflow_url), "conversation_") == play(
        MlflowClient(stock_url, stock_url), "conversation_"
    )


@pytest.mark.parametrize("scheme", ["postgresql://", "postgresql+psycopg2://"])
def test_a_client_with_a_database_url_gets_our_store(database_url: str, scheme: str) -> None:
    """`mlflow.set_registry_uri("postgresql://…")` without any server is guarded too."""
    client = MlflowClient(database_url, scheme + database_url.partition("://")[2])
    store = client._get_registry_client().store
    assert type(store).__name__ == "LifecycleSqlAlchemyStore"
    client.create_registered_model("wine")
    assert [model.name for model in client.search_registered_models()] == ["wine"]


def test_with_workspaces_on_the_store_is_the_workspace_aware_one(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workspaces may each have their own Production of the same model name."""
    from mlflow.utils.workspace_context import WorkspaceContext

    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    store = registry_store(database_url)
    assert type(store).__name__ == "LifecycleWorkspaceAwareSqlAlchemyStore"
    for workspace in ("red", "white"):
        with WorkspaceContext(workspace):
            store.create_registered_model("wine")
            for _ in range(2):
                store.create_model_version("wine", "s3://bucket/model")
            store.transition_model_version_stage("wine", "1", "Production", False)
    with WorkspaceContext("red"):
        store.transition_model_version_stage("wine", "2", "Production", False)
        assert [store.get_model_version("wine", v).current_stage for v in "12"] == ["Archived", "Production"]
    with WorkspaceContext("white"):
        assert [store.get_model_version("wine", v).current_stage for v in "12"] == ["Production", "None"]


def test_a_read_replica_is_handed_on(
    database_url: str, second_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What MLflow's server calls its read replica is where reads go."""
    from mlflow.server.constants import READ_REPLICA_BACKEND_STORE_URI_ENV_VAR

    assert READ_REPLICA_BACKEND_STORE_URI_ENV_VAR == READ_REPLICA_VARIABLE
    monkeypatch.setenv(READ_REPLICA_VARIABLE, second_database_url)
    store = registry_store(database_url)
    store.create_registered_model("wine")
    with pytest.raises(MlflowException, match="not found"):
        store.get_registered_model("wine")


def test_the_store_works_without_our_schema(database_url: str, engine: Engine) -> None:
    """MLflow is never broken by us: no tables of ours, and transitions still leave one Production."""
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA mlflow_ext CASCADE"))
    store = registry_store(database_url)
    prepare(store)
    store.transition_model_version_stage("wine", "1", "Production", False)
    store.transition_model_version_stage("wine", "2", "Production", False)
    assert in_production(engine) == [2]


def test_200_races_leave_exactly_one_production(database_url: str, engine: Engine) -> None:
    """Two versions are moved to Production at the same moment, nobody asks for archiving: one is, 200 times."""
    store = registry_store(database_url)
    prepare(store)
    outcomes = []
    for _ in range(200):
        race(
            lambda: store.transition_model_version_stage("wine", "1", "Production", False),
            lambda: store.transition_model_version_stage("wine", "2", "Production", False),
        )
        outcomes.append(len(in_production(engine)))
    print(f"races {len(outcomes)}, with exactly one Production {outcomes.count(1)}")
    assert outcomes == [1] * 200


@ours
def test_races_through_the_server_leave_exactly_one_production(mlflow_url: str, mlflow_database_url: str) -> None:
    """The same as the registry UI calls it, half of the callers asking for archiving."""
    races_over_http(mlflow_url, "raced_over_http", 50)


@ours
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_1000_races_through_the_server_leave_one_production_and_a_whole_trail(
    mlflow_url: str, mlflow_database_url: str
) -> None:
    """The sweep; and the audit trail has each change of each race, in one unbroken chain."""
    races_over_http(mlflow_url, "raced_1000_times", 1000)
    engine = make_engine(mlflow_database_url)
    trail = SqlAudit(engine)
    moves = [entry.action for entry in trail.entries("raced_1000_times")].count("version:stage")
    print(f"races 1000, double Production 0, changes of stage in the trail {moves}")
    assert moves >= 2000
    assert trail.verify("raced_1000_times") == []
    engine.dispose()


def races_over_http(mlflow_url: str, model: str, times: int) -> None:
    """Two versions to Production at the same moment, so many times; exactly one is there after each."""
    client = MlflowClient(mlflow_url, mlflow_url)
    client.create_registered_model(model)
    for _ in range(2):
        client.create_model_version(model, "s3://bucket/model")

    def move(version: str, archive: bool) -> Callable[[], Any]:
        body = {"name": model, "version": version, "stage": "Production", "archive_existing_versions": archive}
        url = f"{mlflow_url}/ajax-api/2.0/mlflow/model-versions/transition-stage"
        return lambda: httpx.post(url, json=body, timeout=30).raise_for_status()

    for _ in range(times):
        race(move("1", True), move("2", False))
        versions = client.search_model_versions(f"name = '{model}'")
        assert sorted(version.current_stage for version in versions) == ["Archived", "Production"]


def test_concurrent_alias_and_tag_writes_all_succeed(database_url: str) -> None:
    """Writers of a fresh alias or tag collide in MLflow's store (400 UniqueViolation); here each is told it worked."""
    from mlflow.entities.model_registry import ModelVersionTag

    store = registry_store(database_url)
    prepare(store)
    failures: list[BaseException] = []

    def alias(name: str, version: str) -> Callable[[], Any]:
        return lambda: store.set_registered_model_alias("wine", name, version)

    def tag(key: str, value: str) -> Callable[[], Any]:
        return lambda: store.set_model_version_tag("wine", "1", ModelVersionTag(key, value))

    for turn in range(25):
        pairs = [*(alias(f"a{turn}", v) for v in "12"), *(tag(f"t{turn}", v) for v in "12")]
        race(*pairs, failures=failures)
    assert failures == []
    race(
        *(lambda: store.delete_registered_model_alias("wine", "a0") for _ in range(2)),
        *(alias("a0", "1") for _ in range(4)),
        failures=failures,
    )
    assert failures == []


def test_a_transition_that_waits_too_long_is_told_so(
    database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds the model's lock for ever makes others fail with 503 and a sentence, not with a trace."""
    monkeypatch.setattr("mlflow_ext.plugins.registry_store._LOCK_TIMEOUT_S", 0.2)
    store = registry_store(database_url)
    prepare(store)
    lock = text("SELECT pg_advisory_xact_lock(hashtextextended('mlflow_ext/default/wine', 0))")
    with engine.begin() as connection:
        connection.execute(lock)
        with pytest.raises(MlflowException, match="try again") as refused:
            store.transition_model_version_stage("wine", "1", "Production", False)
        store.create_registered_model("beer")
    assert refused.value.get_http_status_code() == 503
    store.transition_model_version_stage("wine", "1", "Production", False)
    assert in_production(engine) == [1]


def test_who_is_stopped_while_it_waits_does_not_keep_the_lock(database_url: str, engine: Engine) -> None:
    """SIGSTOP before the lock is given to it: others wait for some seconds, and then go on."""
    store = registry_store(database_url)
    prepare(store)
    script = (
        "import sys; from mlflow_ext.plugins.registry_store import registry_store\n"
        "registry_store(sys.argv[1]).transition_model_version_stage('wine', '1', 'Production', False)"
    )
    lock = text("SELECT pg_advisory_xact_lock(hashtextextended('mlflow_ext/default/wine', 0))")
    waits = text("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    with engine.connect() as holding, engine.connect().execution_options(isolation_level="AUTOCOMMIT") as looking:
        holding.execute(lock)
        waiting = subprocess.Popen([sys.executable, "-W", "ignore", "-c", script, database_url])
        wait_until(lambda: looking.execute(waits).first() is not None, 60)
        os.kill(waiting.pid, signal.SIGSTOP)
    try:
        store.transition_model_version_stage("wine", "2", "Production", False)
        assert in_production(engine) == [2]
    finally:
        waiting.kill()
        waiting.wait()


def prepare(store: Any) -> None:
    """Register model `wine` with two versions."""
    store.create_registered_model("wine")
    for _ in range(2):
        store.create_model_version("wine", "s3://bucket/model")


def in_production(engine: Engine) -> list[int]:
    """Versions in Production, as the table has them."""
    with engine.connect() as connection:
        found = connection.execute(text("SELECT version FROM model_versions WHERE current_stage = 'Production'"))
        return list(found.scalars())


def race(*calls: Callable[[], Any], failures: list[BaseException] | None = None) -> None:
    """Make all calls at the same moment and wait for their ends."""
    barrier = threading.Barrier(len(calls))
    caught: list[BaseException] = [] if failures is None else failures

    def run(call: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            call()
        except Exception as exc:
            caught.append(exc)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures is None and caught:
        raise caught[0]
