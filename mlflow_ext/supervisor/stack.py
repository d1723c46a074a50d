"""What `mlflow-ext up` runs: PostgreSQL, the migration, MLflow's server, the promotion service and the drift scheduler.

How they are kept up is `supervisor.py`'s business.
"""

import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from mlflow_ext.config import PREFIX, Settings
from mlflow_ext.embedded_postgres import EmbeddedPostgres
from mlflow_ext.health import check_mlflow, check_role, check_serving
from mlflow_ext.supervisor.part import Part

# the working directory stays off the import path: it may hold a `serving` or `drift` of somebody else
PYTHON = (sys.executable, "-P", "-m")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts meet.

    Attributes:
        database_url: PostgreSQL, with its password.
        mlflow_port: Port of MLflow's server.
        serving_port: Port of the promotion service.
        mlflow_url: How our processes reach MLflow's server.
        serving_url: How clients reach the promotion service.
    """

    database_url: str
    mlflow_port: int
    serving_port: int
    mlflow_url: str
    serving_url: str


def addresses(settings: Settings, database_url: str, mlflow_port: int, serving_port: int) -> Addresses:
    """Settle the URLs for the ports."""
    serving_url = f"http://{_reachable(settings.serving_host)}:{serving_port}"
    return Addresses(
        database_url=database_url,
        mlflow_port=mlflow_port,
        serving_port=serving_port,
        mlflow_url=f"http://{_reachable(settings.mlflow_host)}:{mlflow_port}",
        serving_url=serving_url,
    )


def parts(settings: Settings, data_dir: Path, where: Addresses, postgres: EmbeddedPostgres | None) -> list[Part]:
    """Give the parts in the order of their start."""
    return [*(postgres_parts(postgres) if postgres else []), *_our_parts(settings, data_dir, where)]


def postgres_parts(postgres: EmbeddedPostgres) -> list[Part]:
    """Give what makes the cluster, once, and what serves it."""
    found = []
    if postgres.is_new:
        found.append(
            Part(
                name="initdb",
                command=postgres.init_command(),
                prepare=postgres.make_room,
                is_ready=postgres.adopt,
                once=True,
                user=postgres.user,
                program="initdb",
            )
        )
    found.append(
        Part(
            name="postgres",
            command=postgres.serve_command(),
            prepare=postgres.clear_way,
            is_ready=postgres.is_ready,
            # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave
            stop_signal=signal.SIGINT,
            stop_within_s=60.0,
            user=postgres.user,
            program="postgres",
        )
    )
    return found


def _our_parts(settings: Settings, data_dir: Path, where: Addresses) -> list[Part]:
    ours = {
        f"{PREFIX}DATABASE_URL": where.database_url,
        f"{PREFIX}DATA_DIR": str(data_dir),
        f"{PREFIX}MLFLOW_URL": where.mlflow_url,
        f"{PREFIX}SERVING_URL": where.serving_url,
        f"{PREFIX}SERVING_HOST": settings.serving_host,
        f"{PREFIX}SERVING_PORT": str(where.serving_port),
        "MLFLOW_TRACKING_URI": where.mlflow_url,
    }
    return [
        Part(
            name="upgrade",
            command=(*PYTHON, "mlflow_ext.cli", "db", "upgrade"),
            environment=ours,
            without=frozenset({f"{PREFIX}DATABASE_URL_FILE"}),
            once=True,
        ),
        _mlflow(settings, data_dir, where),
        Part(
            name="serving",
            command=(*PYTHON, "mlflow_ext.cli", "serve"),
            environment=ours,
            is_ready=lambda: check_serving(f"http://{_reachable(settings.serving_host)}:{where.serving_port}").ok,
            stop_within_s=40.0,
        ),
        Part(
            name="drift",
            command=(*PYTHON, "mlflow_ext.cli", "drift", "schedule"),
            environment=ours,
            is_ready=lambda: check_role(where.database_url, "drift", host=socket.gethostname()).ok,
        ),
    ]


def _mlflow(settings: Settings, data_dir: Path, where: Addresses) -> Part:
    command = (
        *(*PYTHON, "mlflow", "server", "--app-name", "mlflow-ext"),
        *("--host", settings.mlflow_host, "--port", str(where.mlflow_port)),
        *("--workers", str(settings.mlflow_workers)),
    )
    environment = {
        # by environment, because everybody can read a command line
        "MLFLOW_BACKEND_STORE_URI": where.database_url,
        "MLFLOW_ARTIFACTS_DESTINATION": settings.artifacts_url or str(data_dir / "artifacts"),
        "MLFLOW_SERVE_ARTIFACTS": "true",
        f"{PREFIX}DATABASE_URL": where.database_url,
        f"{PREFIX}DATA_DIR": str(data_dir),
        f"{PREFIX}MLFLOW_URL": where.mlflow_url,
        f"{PREFIX}SERVING_URL": where.serving_url,
    }
    return Part(
        name="mlflow",
        command=command,
        environment=environment,
        # a client's settings would make the server talk to itself, or to another one
        without=frozenset({"MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_REGISTRY_STORE_URI"}),
        is_ready=lambda: check_mlflow(where.mlflow_url).ok,
        ready_within_s=180.0,
    )


def _reachable(host: str) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104  (compared, not listened on)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
