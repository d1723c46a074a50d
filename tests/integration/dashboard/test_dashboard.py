"""The lifecycle page: complete, escaped, behind MLflow's guards, and whole when tables are missing."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text

from mlflow_ext.dashboard.routes import routes
from mlflow_ext.domain.gates import Verdict
from mlflow_ext.errors import InvalidSettingsError
from mlflow_ext.store.engine import make_engine
from tests.conftest import mlflow_server
from tests.integration.dashboard.story import add_model, add_promotion, gate, tell


class Browser:
    """Asks an application that has our routes only."""

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        self._app = FastAPI()
        self._app.include_router(routes(open_engine))

    def get(self, path: str, **how: Any) -> httpx.Response:
        """Ask once."""
        return asyncio.run(self._get(path, **how))

    async def _get(self, path: str, **how: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://test") as client:
            return await client.get(path, **how)


def test_the_page_tells_the_whole_story(engine: Engine) -> None:
    """Production, Staging, promotions with their gates and reasons, drift history, links into MLflow."""
    tell(engine)
    page = Browser(lambda: engine).get("/mlflow-ext/")
    assert page.status_code == 200
    for words in (
        "Production · version 2",
        "Staging · version 4",
        "roc_auc ≥ 0.7",
        "(0.5121, Production 0.7423)",
        "roc_auc is 0.5121 and must be at least 0.7 (the threshold)",
        "evaluating",
        "9 of 14 columns drifted",
        "nothing in Production",
        "../#/models/flights/versions/2",
        "../#/runs/0123456789abcdef0123456789abcdef",
    ):
        assert words in page.text
    assert page.text.count('class="drift') == 5


def test_everything_is_escaped_and_nothing_comes_from_elsewhere(engine: Engine) -> None:
    """Names, reasons and gates are text whatever they hold; there is no script and no foreign address."""
    evil = "<script>alert(1)</script>'\"&"
    add_model(engine, evil, "Production")
    add_promotion(engine, evil, 1, "rejected", gate(evil, Verdict.FAILED, 1.0, reason=evil), reason=evil)
    page = Browser(lambda: engine).get("/mlflow-ext/", params={"model": evil})
    assert "&lt;script&gt;" in page.text
    assert "<script" not in page.text
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.text.count(evil) == 0


def test_one_model_can_be_chosen(engine: Engine) -> None:
    """`?model=` leaves the others out; an unknown one is said to be unknown."""
    tell(engine)
    client = Browser(lambda: engine)
    assert "breast_cancer" not in client.get("/mlflow-ext/", params={"model": "flights"}).text
    assert "no registered model of this name" in client.get("/mlflow-ext/", params={"model": "nothing"}).text


def test_json_has_the_same(engine: Engine) -> None:
    """The data behind the page, for programs."""
    tell(engine)
    document = Browser(lambda: engine).get("/mlflow-ext/api/models").json()
    assert document["triggers_installed"] is True
    assert document["problems"] == []
    assert [model["model"] for model in document["models"]] == ["breast_cancer", "flights", "fraud/eu <b>&amp;"]
    flights = document["models"][1]
    assert (flights["production"], flights["served"], flights["staging"]) == (2, 2, [4])
    assert [one["state"] for one in flights["promotions"]] == ["evaluating", "rejected", "promoted"]
    assert flights["promotions"][1]["gates"][0]["verdict"] == "failed"
    assert flights["drift"][-1]["verdict"] == "drift"


def test_without_our_tables_the_models_are_shown_and_the_cure_is_named(engine: Engine) -> None:
    """`DROP SCHEMA mlflow_ext`: MLflow's registry is still shown, with the command that helps."""
    tell(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA mlflow_ext CASCADE"))
    page = Browser(lambda: engine).get("/mlflow-ext/")
    assert page.status_code == 200
    assert "Production · version 2" in page.text
    assert "mlflow-ext db upgrade" in page.text


def test_an_empty_database_and_no_database_are_said_in_words(empty_database_url: str) -> None:
    """No table at all, no server, another kind of database: a page with a sentence, never an error."""
    empty = make_engine(empty_database_url)
    assert "mlflow-ext db upgrade" in Browser(lambda: empty).get("/mlflow-ext/").text
    empty.dispose()
    gone = make_engine("postgresql://nobody@127.0.0.1:9/nothing")
    assert "PostgreSQL does not answer" in Browser(lambda: gone).get("/mlflow-ext/").text

    def refuse() -> Engine:
        raise InvalidSettingsError("mlflow-ext works on PostgreSQL, this server runs on sqlite")

    answer = Browser(refuse).get("/mlflow-ext/api/models").json()
    assert answer["problems"] == ["mlflow-ext works on PostgreSQL, this server runs on sqlite"]


def test_mlflows_server_shows_it_behind_its_own_guards(mlflow_url: str) -> None:
    """Our routes stand before MLflow's catch-all, MLflow's before ours; a foreign Host is refused on both."""
    assert "<h1>Lifecycle</h1>" in httpx.get(f"{mlflow_url}/mlflow-ext/").text
    assert httpx.get(f"{mlflow_url}/mlflow-ext/api/models").json()["problems"] == []
    assert httpx.get(f"{mlflow_url}/mlflow-ext", follow_redirects=True).status_code == 200
    assert httpx.get(f"{mlflow_url}/mlflow-ext/nothing").status_code == 404
    assert "MLflow" in httpx.get(mlflow_url).text
    assert httpx.get(f"{mlflow_url}/api/2.0/mlflow/registered-models/search").status_code == 200
    foreign = httpx.get(f"{mlflow_url}/mlflow-ext/", headers={"Host": "evil.example"})
    assert foreign.status_code == 403
    assert foreign.headers.get("content-security-policy") is None


@pytest.fixture
def bare_server(empty_database_url: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """MLflow's server with a static prefix, on a database where `db upgrade` never ran."""
    with mlflow_server(empty_database_url, tmp_path, "--static-prefix", "/ml", prefix="/ml") as url:
        yield url, tmp_path / "server.log"


def test_a_server_without_our_tables_starts_says_so_and_works(bare_server: tuple[str, Path]) -> None:
    """MLflow is not affected, the log and the page name the command; the static prefix goes before our routes too."""
    from mlflow import MlflowClient

    url, log = bare_server
    assert "run `mlflow-ext db upgrade`. MLflow itself is not affected." in log.read_text()
    client = MlflowClient(url, url)
    client.create_registered_model("wine")
    client.create_model_version("wine", "s3://bucket/model")
    moved = httpx.post(
        f"{url}/ajax-api/2.0/mlflow/model-versions/transition-stage",
        json={"name": "wine", "version": "1", "stage": "Production", "archive_existing_versions": False},
    )
    assert moved.json()["model_version"]["current_stage"] == "Production"
    page = httpx.get(f"{url}/mlflow-ext/")
    assert "Production · version 1" in page.text
    assert "mlflow-ext db upgrade" in page.text
