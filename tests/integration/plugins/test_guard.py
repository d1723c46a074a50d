"""The guard as MLflow's users meet it: UI and API routes, Python, workspaces; refused in words, or as it always was."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersionTag
from mlflow.exceptions import MlflowException, RestException
from sqlalchemy import Engine

from mlflow_ext.domain.guard import GuardMode
from mlflow_ext.domain.promotion import PromotionEvent
from mlflow_ext.plugins.registry_store import registry_store
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.guard import Guard
from mlflow_ext.store.promotions import SqlPromotions
from tests.integration.plugins.registry_calls import play

MODEL = "guarded"
pytestmark = pytest.mark.filterwarnings("ignore:.*stages.*:FutureWarning")

TRANSITION = (
    "POST",
    "model-versions/transition-stage",
    {"version": "1", "stage": "Production", "archive_existing_versions": True},
)
ALIAS = ("POST", "registered-models/alias", {"version": "1", "alias": "production"})
TAG = ("POST", "model-versions/set-tag", {"version": "1", "key": "stage", "value": "Production"})


@pytest.fixture(scope="module")
def server_engine(mlflow_database_url: str) -> Iterator[Engine]:
    """The database of the shared server."""
    engine = make_engine(mlflow_database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def guarded(mlflow_url: str, server_engine: Engine) -> Iterator[MlflowClient]:
    """A client of the shared server, where one model is guarded; as before afterwards."""
    client = MlflowClient(mlflow_url, mlflow_url)
    client.create_registered_model(MODEL)
    for _ in range(2):
        client.create_model_version(MODEL, "s3://bucket/model")
    Guard(server_engine).set_modes(GuardMode.WARN, {MODEL: GuardMode.ENFORCE})
    yield client
    Guard(server_engine).set_modes(GuardMode.WARN, {})


@pytest.mark.parametrize("api", ["api", "ajax-api"])
@pytest.mark.parametrize(("method", "route", "body"), [TRANSITION, ALIAS, TAG], ids=["stage", "alias", "tag"])
def test_every_route_refuses_with_403_and_words(
    guarded: MlflowClient, mlflow_url: str, api: str, method: str, route: str, body: dict[str, Any]
) -> None:
    """What the UI calls, and what clients call; the message is for a data scientist."""
    address = f"{mlflow_url}/{api}/2.0/mlflow/{route}"
    answer = httpx.request(method, address, json={"name": MODEL, **body}, timeout=30)
    assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
    said = answer.json()["message"]
    assert said.startswith(f"Version 1 of {MODEL} cannot be moved to Production by hand: this model is guarded")
    assert f"mlflow-ext promote {MODEL} 1" in said
    assert "psycopg2" not in said
    assert "SQL" not in said
    version = guarded.get_model_version(MODEL, "1")
    assert (version.current_stage, version.aliases, version.tags) == ("None", [], {})


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.transition_model_version_stage(MODEL, "1", "Production"),
        lambda c: c.set_registered_model_alias(MODEL, "production", "1"),
        lambda c: c.set_model_version_tag(MODEL, "1", "stage", "production"),
        lambda c: c.create_model_version(MODEL, "s3://bucket/model", tags={"stage": "Production"}),
        lambda c: c.copy_model_version("models:/tagged/1", MODEL),
    ],
    ids=["stage", "alias", "tag", "new version", "copied version"],
)
def test_the_python_client_is_told(guarded: MlflowClient, call: Callable[[MlflowClient], Any]) -> None:
    """In the exception's first line, without a trace of SQL."""
    if not guarded.search_registered_models("name = 'tagged'"):
        guarded.create_registered_model("tagged")
        guarded.create_model_version("tagged", "s3://bucket/model", tags={"stage": "Production"})
    with pytest.raises(MlflowException, match=r"PERMISSION_DENIED.*cannot be moved to Production by hand"):
        call(guarded)


def test_a_passed_promotion_opens_the_way_for_every_mark(guarded: MlflowClient, server_engine: Engine) -> None:
    """Judged and passed, the version may be moved by stage, alias and tag; refusals before are in the trail."""
    promotions = SqlPromotions(server_engine, owner="worker")
    asked = promotions.request(MODEL, 2, source="cli", cause="test")
    with pytest.raises(RestException, match="being computed now"):
        guarded.transition_model_version_stage(MODEL, "2", "Production")
    promotions.record(asked, PromotionEvent.OVERRIDE, note="past its gates", values={"override_reason": "incident 7"})
    guarded.set_model_version_tag(MODEL, "2", "stage", "Production")
    guarded.set_registered_model_alias(MODEL, "production", "2")
    guarded.transition_model_version_stage(MODEL, "2", "Production")
    actions = [entry.action for entry in SqlAudit(server_engine).entries(MODEL) if entry.version == 2]
    assert actions[1:] == [
        "promotion:requested",
        "guard:refused",
        "promotion:override",
        "tag:set",
        "alias:set",
        "version:stage",
    ]


def test_with_workspaces_on_the_guard_holds_in_the_workspace_that_is_promoted_in(
    database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policies mean the workspace `default`; a model of the same name in another workspace is another model."""
    from mlflow.utils.workspace_context import WorkspaceContext

    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    store: Any = registry_store(database_url)
    Guard(engine).set_modes(GuardMode.WARN, {"wine": GuardMode.ENFORCE})
    for workspace in ("default", "red"):
        with WorkspaceContext(workspace):
            store.create_registered_model("wine")
            store.create_model_version("wine", "s3://bucket/model")
    with WorkspaceContext("default"):
        for write in (
            lambda: store.transition_model_version_stage("wine", "1", "Production", False),
            lambda: store.set_registered_model_alias("wine", "production", "1"),
            lambda: store.set_model_version_tag("wine", "1", ModelVersionTag("stage", "Production")),
        ):
            with pytest.raises(MlflowException, match="this model is guarded"):
                write()
    with WorkspaceContext("red"):
        store.transition_model_version_stage("wine", "1", "Production", False)
        assert store.get_model_version("wine", "1").current_stage == "Production"


def test_unguarded_models_behave_as_without_us(database_url: str, second: str) -> None:
    """A long conversation with the registry is answered word by word as by MLflow's own store."""
    engine = make_engine(database_url)
    Guard(engine).set_modes(GuardMode.WARN, {"something else": GuardMode.ENFORCE})
    engine.dispose()
    ours, stock = registry_store(database_url), _stock(second)
    assert play(_over(ours)) == play(_over(stock))


@pytest.fixture
def second(postgres: str, template_database: str) -> Iterator[str]:
    """One more migrated database."""
    from tests.conftest import clone_database

    yield from clone_database(postgres, template_database)


def _stock(url: str) -> Any:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(url)


def _over(store: Any) -> MlflowClient:
    from tests.integration.plugins.test_registry_store import client_over

    return client_over(store)
