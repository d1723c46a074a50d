"""Fixtures that every level may use: a real PostgreSQL, and a migrated database of one's own for each test."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import hypothesis
import psycopg2
import pytest
from sqlalchemy import Engine

from mlflow_ext.config import normalise_database_url
from mlflow_ext.store import schema
from mlflow_ext.store.engine import make_engine

os.environ.setdefault("DO_NOT_TRACK", "1")
# many tests share few cores: what gives way to all of them would never end
os.environ.setdefault("MLFLOW_EXT_BACKGROUND_NICENESS", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# a server that a test has taken away should fail fast, as in our own processes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

# whether a change may land must not hang on the examples of the day; everywhere else each run looks at new ones
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")


SHARED_MLFLOW = pytest.StashKey[str]()
"""Address of the server that the session shares, once there is one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process when several run them, and all that use the shared stack."""
    for item in items:
        group = "stack" if "stack" in getattr(item, "fixturenames", ()) else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(autouse=True)
def mlflow_points_nowhere() -> Iterator[None]:
    """Each test leaves MLflow's process-wide addresses unset, as it found them."""
    yield
    forget_mlflow()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server for the whole session; the value is the URL of its maintenance database."""
    from tests.own_postgres import OwnPostgres

    # the cluster lives for one session: durability would only cost time
    server = OwnPostgres("fsync=off", "synchronous_commit=off", "full_page_writes=off")
    try:
        server.start()
        yield server.url
    finally:
        server.close()


@pytest.fixture(scope="session")
def template_database(postgres: str) -> str:
    """Name of a database with MLflow's tables, ours and the triggers, ready to be cloned."""
    from mlflow_ext.registry.schema import create_mlflow_tables

    with _maintenance(postgres) as run:
        run("CREATE DATABASE mlflow_ext_template")
    url = database_url_for(postgres, "mlflow_ext_template")
    create_mlflow_tables(url)
    engine = make_engine(url)
    schema.upgrade(engine)
    engine.dispose()
    return "mlflow_ext_template"


@pytest.fixture
def database_url(postgres: str, template_database: str) -> Iterator[str]:
    """URL of a migrated database that belongs to this test alone, so that it may commit freely."""
    yield from clone_database(postgres, template_database)


@pytest.fixture
def empty_database_url(postgres: str) -> Iterator[str]:
    """URL of a database without any tables."""
    yield from clone_database(postgres, "template1")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on the test's own database."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def mlflow_database_url(postgres: str, template_database: str) -> Iterator[str]:
    """URL of the database behind `mlflow_url`, shared by the session: use model names of your own."""
    yield from clone_database(postgres, template_database)


@pytest.fixture(scope="session")
def mlflow_url(
    mlflow_database_url: str, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[str]:
    """Address of a real MLflow server with our plugin, on PostgreSQL, shared by the session."""
    with mlflow_server(mlflow_database_url, tmp_path_factory.mktemp("mlflow")) as url:
        pytestconfig.stash[SHARED_MLFLOW] = url
        yield url


@contextlib.contextmanager
def mlflow_server(
    database_url: str, directory: Path, *arguments: str, app: str = "mlflow-ext", prefix: str = "", **environment: str
) -> Iterator[str]:
    """Run a real MLflow server, with our plugin unless another app is named; its output goes to `server.log`.

    Args:
        database_url: Where it keeps everything but artifacts.
        directory: Where it runs.
        arguments: Further ones of `mlflow server`.
        app: MLflow's app.
        prefix: Of its paths, where the arguments set one.
        environment: Further variables.

    Yields:
        Its address.
    """
    port = free_port()
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--app-name", app, "--host", "127.0.0.1"),
                *("--port", str(port), "--workers", "1", "--backend-store-uri", database_url),
                *("--artifacts-destination", str(directory / "artifacts"), "--serve-artifacts"),
                *arguments,
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=directory,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment},
        )
    url = f"http://127.0.0.1:{port}{prefix}"
    try:
        wait_until(lambda: answers(f"{url}/health"), 150, lambda: (directory / "server.log").read_text())
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


def forget_mlflow() -> None:
    """Unset the addresses that MLflow keeps for the whole process; its own setters can only replace the registry's.

    And end autologging, which a project's code begins: every fit of a later test would be logged, and measured.
    """
    if "mlflow" in sys.modules:
        import mlflow

        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        mlflow.set_registry_uri(None)  # type: ignore[arg-type]
    if "mlflow.sklearn" in sys.modules:
        import mlflow.sklearn
        from mlflow.utils.autologging_utils import autologging_is_disabled

        if not autologging_is_disabled("sklearn"):
            mlflow.sklearn.autolog(disable=True)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ.pop("MLFLOW_REGISTRY_URI", None)


def answers(url: str) -> bool:
    """Tell whether a GET is answered with 200."""
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def wait_until(holds: Callable[[], object], timeout_s: float, explain: Callable[[], str] = lambda: "") -> None:
    """Wait for a condition of another process; fail with the end of an explanation."""
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"did not hold within {timeout_s} s\n{explain()[-4000:]}")
        time.sleep(0.05)


def free_port() -> int:
    """Find a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def clone_database(postgres: str, template: str) -> Iterator[str]:
    """Clone a template under a fresh name, and drop the clone afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    with _maintenance(postgres) as run:
        run(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield database_url_for(postgres, name)
    with _maintenance(postgres) as run:
        run(f"DROP DATABASE {name} WITH (FORCE)")


def database_url_for(postgres: str, name: str) -> str:
    """Put another database's name into the server's URL."""
    base, _, query = postgres.partition("?")
    return normalise_database_url(f"{base.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else ""))


class _maintenance:  # noqa: N801  (reads as a verb where it is used)
    """A connection to the maintenance database, each statement on its own."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True

    def __enter__(self) -> Callable[[str], None]:
        return self._connection.cursor().execute

    def __exit__(self, *_: object) -> None:
        self._connection.close()
