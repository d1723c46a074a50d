"""A real MLflow server with workspaces on: the guard holds in the workspace that is promoted in, and in no other."""

from collections.abc import Iterator

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import Engine

from mlflow_ext.domain.guard import GuardMode
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.guard import Guard
from mlflow_ext.store.promotions import SqlPromotions
from tests.conftest import mlflow_server

MODEL = "rosé"
pytestmark = pytest.mark.filterwarnings("ignore:.*stages.*:FutureWarning")
MARKS = {
    "stage": ("model-versions/transition-stage", {"version": "1", "stage": "Production"}),
    "alias": ("registered-models/alias", {"version": "1", "alias": "production"}),
    "tag": ("model-versions/set-tag", {"version": "1", "key": "stage", "value": "Production"}),
}


@pytest.fixture(scope="module")
def server(database: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mlflow server --enable-workspaces` with our registry store; a model of one name in two workspaces."""
    uri = database.url.render_as_string(hide_password=False)
    with mlflow_server(uri, tmp_path_factory.mktemp("workspaces"), "--enable-workspaces") as url:
        MlflowClient(url, url).create_workspace("red")
        for workspace in ("default", "red"):
            assert call(url, workspace, "api", "registered-models/create").is_success
            assert call(url, workspace, "api", "model-versions/create", source="s3://bucket/model").is_success
        yield url


def call(url: str, workspace: str, api: str, route: str, **body: str) -> httpx.Response:
    """Call MLflow's REST API in a workspace."""
    headers = {"X-MLFLOW-WORKSPACE": workspace}
    return httpx.post(f"{url}/{api}/2.0/mlflow/{route}", json={"name": MODEL} | body, headers=headers, timeout=60)


def test_every_route_is_guarded(server: str, database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage, alias and tag, as the UI calls them, as programs do, in Python: refused, until a promotion passes."""
    Guard(database).set_modes(GuardMode.WARN, {MODEL: GuardMode.ENFORCE})
    for api in ("api", "ajax-api"):
        for route, body in MARKS.values():
            refused = call(server, "default", api, route, **body)
            assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED"), refused.text
    monkeypatch.setenv("MLFLOW_WORKSPACE", "default")
    client = MlflowClient(server, server)
    writes = (
        lambda: client.set_registered_model_alias(MODEL, "production", "1"),
        lambda: client.set_model_version_tag(MODEL, "1", "stage", "Production"),
        lambda: client.transition_model_version_stage(MODEL, "1", "Production"),
    )
    for write in writes:
        with pytest.raises(MlflowException, match="cannot be moved to Production by hand"):
            write()
    refusals = [e.source for e in SqlAudit(database).entries(MODEL) if e.action == "guard:refused"]
    assert refusals == ["api"] * 3 + ["ui"] * 3 + ["python"] * 3
    promotions = SqlPromotions(database, owner="worker")
    about = {"requested_by": "ann", "reason": "incident 7"}
    promotions.override(MODEL, 1, source="cli", cause="test", champion=None, **about)
    for write in writes:
        write()
    assert client.get_model_version(MODEL, "1").current_stage == "Production"


def test_a_model_of_the_same_name_in_another_workspace_is_another_model(server: str, database: Engine) -> None:
    """Policies mean the workspace `default`: elsewhere marks move freely, in a chain of their own."""
    Guard(database).set_modes(GuardMode.WARN, {MODEL: GuardMode.ENFORCE})
    for route, body in MARKS.values():
        moved = call(server, "red", "api", route, **body)
        assert moved.is_success, moved.text
    trail = SqlAudit(database, "red")
    assert {e.action for e in trail.entries(MODEL)} >= {"version:stage", "alias:set", "tag:set"}
    assert [one for one in trail.verify() if one.workspace == "red"] == []


@pytest.mark.parametrize("mark", list(MARKS))
def test_without_enforcement_the_same_calls_bring_it_to_production(server: str, database: Engine, mark: str) -> None:
    """The guard, and nothing else, has refused them: where it only warns they are done, and the trail warns."""
    Guard(database).set_modes(GuardMode.WARN, {})
    name, (route, body) = f"free-{mark}", MARKS[mark]
    for step, more in (("registered-models/create", {}), ("model-versions/create", {"source": "s3://bucket/model"})):
        assert call(server, "default", "api", step, **({"name": name} | more)).is_success
    done = call(server, "default", "api", route, **({"name": name} | body))
    assert done.is_success, done.text
    assert "guard:warned" in [e.action for e in SqlAudit(database).entries(name)]
