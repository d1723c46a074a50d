"""A promotion service that asks for tokens: two scoring processes, real PostgreSQL, tokens by the command line."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
import pytest
from click.testing import CliRunner
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException

from mlflow_ext.cli import cli
from mlflow_ext.domain.tokens import token_id
from mlflow_ext.registry.client import MlflowRegistry
from tests.conftest import wait_until
from tests.integration.gateway import Gateway
from tests.integration.registered import BODY, ROWS, constant, register
from tests.integration.serving.conftest import Stage
from tests.integration.serving.service import Service, service

MODEL = "behind-tokens"
REVOKED_WITHIN_S = 5.0
EVERYWHERE = ("--host", "0.0.0.0")  # noqa: S104  (that this asks for tokens is what is tested)


@dataclass(frozen=True, slots=True)
class Guarded:
    """A service that asks for tokens.

    Attributes:
        service: The service; its database is behind a relay.
        gateway: The relay.
        database_url: The database itself.
    """

    service: Service
    gateway: Gateway
    database_url: str

    def command(self, *arguments: str) -> str:
        """Run `mlflow-ext token ARGUMENTS`."""
        done = CliRunner().invoke(
            cli, ["token", *arguments], env={"MLFLOW_EXT_DATABASE_URL": self.database_url, "COLUMNS": "200"}
        )
        assert done.exit_code == 0, done.output
        return done.stdout

    def sql(self, statement: str, *values: str) -> None:
        """Change the database by hand."""
        with closing(psycopg2.connect(self.database_url.replace("+psycopg2", ""))) as connection, connection:
            connection.cursor().execute(statement, values)

    def token(self, *arguments: str) -> str:
        """Make a token and wait until every scoring process knows it."""
        text = self.command("create", "--quiet", *arguments).strip()
        with self.workers() as workers:
            for worker in workers:
                wait_until(lambda worker=worker: knows(worker, text), 5)  # type: ignore[misc]
        return text

    @contextmanager
    def workers(self) -> Iterator[list[httpx.Client]]:
        """Give a client for each scoring process, which its connection stays with."""
        found: dict[int, httpx.Client] = {}
        pids = self.service.scoring_pids()
        end = time.monotonic() + 60
        with ExitStack() as stack:
            while len(found) < len(pids):
                assert time.monotonic() < end
                client = stack.enter_context(httpx.Client(base_url=self.service.url, timeout=30))
                mine = client.get("/livez").extensions["network_stream"].get_extra_info("client_addr")[1]
                for pid in pids:
                    if mine in {peer.raddr.port for peer in psutil.Process(pid).net_connections("tcp4") if peer.raddr}:
                        found.setdefault(pid, client)
            yield list(found.values())


def knows(worker: httpx.Client, text: str) -> bool:
    """Tell whether a token is good, whatever it allows."""
    return worker.get("/nowhere", headers=bearer(text)).status_code == 404


def bearer(text: str) -> dict[str, str]:
    """Show a token."""
    return {"Authorization": f"Bearer {text}"}


def score(client: httpx.Client, text: str) -> int:
    """Score once and give the status."""
    return client.post(f"/models/{MODEL}/invocations", json=BODY, headers=bearer(text)).status_code


@pytest.fixture(scope="module")
def guarded(mlflow_database_url: str, mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Two scoring processes that answer with one model, listen everywhere, and were told nothing about tokens."""
    from mlflow import MlflowClient

    register(mlflow_url, MODEL, constant(1.0))
    MlflowRegistry(MlflowClient(mlflow_url, mlflow_url)).set_stage(MODEL, 1, Stage.PRODUCTION)
    directory = tmp_path_factory.mktemp("behind-tokens")
    with (
        Gateway(mlflow_database_url) as gateway,
        service(gateway.database_url, mlflow_url, directory, "--workers", "2", *EVERYWHERE) as running,
    ):
        wait_until(lambda: len(running.scoring_pids()) == 2, 20)
        guarded = Guarded(running, gateway, mlflow_database_url)
        with guarded.workers() as workers:
            for worker in workers:
                wait_until(lambda worker=worker: worker.get("/readyz").status_code == 200, 60)  # type: ignore[misc]
        yield guarded


@pytest.mark.parametrize("notified", [True, False])
def test_a_revoked_token_stops_working_within_five_seconds_on_every_worker(guarded: Guarded, notified: bool) -> None:
    """Asked all the time on both scoring processes: every answer until then, none after it, and it is told why.

    By the command, which notifies; and by SQL alone, which only the poll finds.
    """
    text = guarded.token("--right", "score", "--model", MODEL)
    with guarded.workers() as workers:
        assert [score(worker, text) for worker in workers] == [200, 200]
        began = time.monotonic()
        if notified:
            guarded.command("revoke", token_id(text))
        else:
            guarded.sql("UPDATE mlflow_ext.token SET revoked_at = clock_timestamp() WHERE id = %s", token_id(text))
        refused_after: dict[int, float] = {}
        while len(refused_after) < len(workers):
            assert time.monotonic() - began < REVOKED_WITHIN_S, refused_after
            for number, worker in enumerate(workers):
                if score(worker, text) == 401:
                    refused_after.setdefault(number, time.monotonic() - began)
                else:
                    assert number not in refused_after
        print({number: f"{after:.2f} s" for number, after in refused_after.items()})
        told = workers[0].get("/models", headers=bearer(text)).json()
    assert (told["error_code"], "revoked" in told["message"]) == ("UNAUTHENTICATED", True)


def test_without_postgresql_tokens_stay_as_they_were(guarded: Guarded) -> None:
    """While it is away good tokens work, a revocation waits, an expiry does not; once it is back, all is followed."""
    text = guarded.token("--right", "score")
    soon = datetime.now(UTC) + timedelta(seconds=6)
    ending = guarded.token("--right", "score", "--expires", soon.isoformat())
    with guarded.workers() as workers:
        assert [score(worker, ending) for worker in workers] == [200, 200]
        try:
            guarded.gateway.close()
            wait_until(lambda: guarded.service.log.count("event=tokens_unread") == 2, 20, lambda: guarded.service.log)
            guarded.command("revoke", text)
            wait_until(lambda: datetime.now(UTC) > soon, 10)
            assert [score(worker, ending) for worker in workers] == [401, 401]
            assert [score(worker, text) for worker in workers] == [200, 200]
            assert httpx.get(f"{guarded.service.url}/readyz").status_code == 200
        finally:
            guarded.gateway.open()
        for worker in workers:
            wait_until(lambda worker=worker: score(worker, text) == 401, 10)  # type: ignore[misc]


@pytest.mark.slow
def test_a_killed_worker_comes_back_with_the_tokens(guarded: Guarded) -> None:
    """A scoring process that is started again knows the tokens before it accepts requests."""
    text, revoked = guarded.token("--right", "score"), guarded.token("--right", "score")
    guarded.command("revoke", revoked)
    killed = guarded.service.scoring_pids()[0]
    psutil.Process(killed).kill()
    wait_until(lambda: len({*guarded.service.scoring_pids()} - {killed}) == 2, 60)
    with guarded.workers() as workers:
        assert [score(worker, text) for worker in workers] == [200, 200]
        for worker in workers:
            wait_until(lambda worker=worker: score(worker, revoked) == 401, 5)  # type: ignore[misc]


def test_the_deployments_client_shows_the_token_of_its_environment(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """MLFLOW_EXT_TOKEN opens the service to `mlflow deployments`; without it the error says what to set."""
    target: Any = get_deploy_client(f"mlflow-ext:{guarded.service.url}")
    with pytest.raises(MlflowException, match="MLFLOW_EXT_TOKEN") as refused:
        target.list_deployments()
    assert refused.value.error_code == "UNAUTHENTICATED"
    secret = tmp_path / "token"
    secret.write_text(guarded.token("--right", "score", "--right", "read", "--model", MODEL) + "\n")
    monkeypatch.setenv("MLFLOW_EXT_TOKEN_FILE", str(secret))
    target = get_deploy_client(f"mlflow-ext:{guarded.service.url}")
    assert [found["name"] for found in target.list_deployments()] == [MODEL]
    assert target.get_deployment(MODEL)["version"] == 1
    assert target.predict(MODEL, ROWS).get_predictions("ndarray").tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(MlflowException, match="limited to models") as refused:
        target.get_deployment("another")
    assert refused.value.error_code == "PERMISSION_DENIED"


def test_beyond_loopback_tokens_are_the_default(guarded: Guarded, serving: Service) -> None:
    """A service that listens on all addresses asks for tokens, one on loopback does not, and both say so at start."""
    assert "callers need a token (auth: token)" in guarded.service.log
    assert "anyone on this machine may ask (auth: none)" in serving.log
    assert httpx.get(f"{serving.url}/models").status_code == 200
    assert httpx.get(f"{guarded.service.url}/models").status_code == 401
