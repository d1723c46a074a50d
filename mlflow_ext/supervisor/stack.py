"""What `mlflow-ext up` runs: PostgreSQL, the migration, MLflow's server, the promotion service and the drift scheduler.

How they are kept up is `supervisor.py`'s business.
"""

import signal
import socket
import sys
from pathlib import Path

from pydantic import SecretStr

from mlflow_ext import mlflow_server
from mlflow_ext.config import PREFIX, Settings
from mlflow_ext.embedded_postgres import EmbeddedPostgres
from mlflow_ext.health import check_mlflow, check_role, check_serving
from mlflow_ext.supervisor.part import Part

# the working directory stays off the import path: it may hold a `serving` or `drift` of somebody else
PYTHON = (sys.executable, "-P", "-m")


def settled(settings: Settings, data_dir: Path, database_url: str, mlflow_port: int, serving_port: int) -> Settings:
    """Give the settings under which the parts run: every address is known."""
    return settings.model_copy(
        update={
            "database_url": SecretStr(database_url),
            "data_dir": data_dir,
            "mlflow_port": mlflow_port,
            "mlflow_url": f"http://{_reachable(settings.mlflow_host)}:{mlflow_port}",
            "serving_port": serving_port,
            "serving_url": f"http://{_reachable(settings.serving_host)}:{serving_port}",
        }
    )


def parts(settings: Settings, postgres: EmbeddedPostgres | None) -> list[Part]:
    """Give the parts in the order of their start.

    Args:
        settings: As `settled` gives them.
        postgres: The embedded PostgreSQL, unless the database is somewhere else.
    """
    return [*(postgres_parts(postgres) if postgres else []), *_our_parts(settings)]


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


def _our_parts(settings: Settings) -> list[Part]:
    database_url = settings.require_database_url()
    ours = {
        f"{PREFIX}DATABASE_URL": database_url,
        f"{PREFIX}DATA_DIR": str(settings.data_dir),
        f"{PREFIX}MLFLOW_URL": settings.mlflow_url,
        f"{PREFIX}SERVING_URL": settings.serving_url,
        f"{PREFIX}SERVING_HOST": settings.serving_host,
        f"{PREFIX}SERVING_PORT": str(settings.serving_port),
    }
    for_clients = ours | {"MLFLOW_TRACKING_URI": settings.mlflow_url}
    return [
        Part(name="upgrade", command=(*PYTHON, "mlflow_ext.cli", "db", "upgrade"), environment=ours, once=True),
        Part(
            name="mlflow",
            command=mlflow_server.command(settings),
            environment=ours | mlflow_server.environment(settings),
            without=mlflow_server.CLIENT_VARIABLES,
            is_ready=lambda: check_mlflow(settings.mlflow_url).ok,
            # who asks for predictions waits for milliseconds, who looks at a page for longer
            niceness=settings.background_niceness // 2,
        ),
        Part(
            name="serving",
            command=(*PYTHON, "mlflow_ext.cli", "serve"),
            environment=for_clients,
            is_ready=lambda: (
                check_serving(settings.serving_url).ok
                and check_role(database_url, "promotion", host=socket.gethostname()).ok
            ),
            # requests in flight are answered first
            stop_within_s=40.0,
        ),
        Part(
            name="drift",
            command=(*PYTHON, "mlflow_ext.cli", "drift", "schedule"),
            environment=for_clients,
            is_ready=lambda: check_role(database_url, "drift", host=socket.gethostname()).ok,
            niceness=settings.background_niceness // 2,
        ),
    ]


def _reachable(host: str) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104  (compared, not listened on)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
