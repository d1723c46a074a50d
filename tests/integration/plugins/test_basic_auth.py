"""MLflow's own authentication over our registry store: its users are the trail's actors, and the guard holds."""

from collections.abc import Iterator

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import Engine

from mlflow_ext.domain.guard import GuardMode
from mlflow_ext.registry.agreement import ACTOR_HEADER
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.guard import Guard
from tests.conftest import mlflow_server

pytestmark = pytest.mark.filterwarnings("ignore:.*stages.*:FutureWarning")

ADMIN = ("admin", "a-long-password-1")
ALICE = ("alice", "a-long-password-2")


@pytest.fixture(scope="module")
def server(database: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mlflow server --app-name basic-auth`, with a user besides the administrator."""
    directory = tmp_path_factory.mktemp("auth")
    (directory / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = EDIT\n"
        f"database_uri = sqlite:///{directory}/users.db\n"
        f"admin_username = {ADMIN[0]}\nadmin_password = {ADMIN[1]}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    settings = {
        "MLFLOW_AUTH_CONFIG_PATH": str(directory / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only for this test",
    }
    uri = database.url.render_as_string(hide_password=False)
    with mlflow_server(uri, directory, app="basic-auth", **settings) as url:
        made = call(url, ADMIN, "api", "users/create", username=ALICE[0], password=ALICE[1])
        assert made.is_success, made.text
        yield url


def call(url: str, who: tuple[str, str], api: str, route: str, claim: str = "", **body: str) -> httpx.Response:
    """Call MLflow's REST API as a user."""
    headers = {ACTOR_HEADER: claim} if claim else {}
    return httpx.post(f"{url}/{api}/2.0/mlflow/{route}", json=body, auth=who, headers=headers, timeout=60)


MARKS = {
    "stage": ("model-versions/transition-stage", {"version": "1", "stage": "Production"}),
    "alias": ("registered-models/alias", {"version": "1", "alias": "production"}),
    "tag": ("model-versions/set-tag", {"version": "1", "key": "stage", "value": "Production"}),
}


def test_every_route_is_guarded_with_mlflows_user_as_actor(
    server: str, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stage, alias and tag, as the UI calls them, as programs do, in Python: refused, and the trail names alice."""
    Guard(database).set_modes(GuardMode.WARN, {"port": GuardMode.ENFORCE})
    assert call(server, ADMIN, "api", "registered-models/create", name="port").is_success
    assert call(server, ADMIN, "api", "model-versions/create", name="port", source="s3://bucket/model").is_success
    for api in ("api", "ajax-api"):
        for route, body in MARKS.values():
            refused = call(server, ALICE, api, route, name="port", **body)
            assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED"), refused.text
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ALICE[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ALICE[1])
    client = MlflowClient(server, server)
    for write in (
        lambda: client.set_registered_model_alias("port", "production", "1"),
        lambda: client.set_model_version_tag("port", "1", "stage", "Production"),
        lambda: client.transition_model_version_stage("port", "1", "Production"),
    ):
        with pytest.raises(MlflowException, match="cannot be moved to Production by hand"):
            write()
    version = client.get_model_version("port", "1")
    assert (version.current_stage, version.aliases, version.tags) == ("None", [], {})
    told = [(e.actor, e.source) for e in SqlAudit(database).entries("port") if e.action == "guard:refused"]
    assert told == [("alice", "api")] * 3 + [("alice", "ui")] * 3 + [("alice", "python")] * 3
    # it was the guard that refused: without it alice may
    Guard(database).set_modes(GuardMode.WARN, {})
    for route, body in MARKS.values():
        done = call(server, ALICE, "api", route, name="port", **body)
        assert done.is_success, done.text


def test_users_of_mlflow_are_named_and_guarded(server: str, database: Engine) -> None:
    """Proven names stand alone, whatever a header claims; a wrong password does nothing; the guard answers 403."""
    Guard(database).set_modes(GuardMode.WARN, {"wine": GuardMode.ENFORCE})
    for who, api, route, body in (
        (ADMIN, "api", "registered-models/create", {}),
        (ADMIN, "api", "model-versions/create", {"source": "s3://bucket/model"}),
        (ALICE, "ajax-api", "registered-models/alias", {"alias": "best", "version": "1"}),
    ):
        done = call(server, who, api, route, name="wine", **body)
        assert done.is_success, done.text
    move = {"name": "wine", "version": "1", "stage": "Staging"}
    claimed = call(server, ALICE, "api", "model-versions/transition-stage", "cli cli:bob@host", **move)
    assert claimed.is_success, claimed.text
    assert call(server, ("alice", "wrong"), "api", "model-versions/transition-stage", **move).status_code == 401
    refused = call(server, ALICE, "ajax-api", "model-versions/transition-stage", **(move | {"stage": "Production"}))
    assert refused.status_code == 403
    assert "cannot be moved to Production by hand" in refused.json()["message"]
    told = [(e.action, e.actor, e.source) for e in SqlAudit(database).entries("wine") if e.action != "guard:mode"]
    assert told == [
        ("version:registered", "admin", "api"),
        ("alias:set", "alice", "ui"),
        ("version:stage", "alice", "cli"),
        ("guard:refused", "alice", "ui"),
    ]
