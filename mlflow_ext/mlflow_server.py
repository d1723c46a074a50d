"""How MLflow's server is started with our plugin, from the same settings as the rest of the product.

`python -m mlflow_ext.mlflow_server` becomes the server. MLflow's own code runs; here are its arguments and environment.
"""

import os
import sys

from mlflow_ext.config import PREFIX, Settings
from mlflow_ext.errors import MlflowExtError

CLIENT_VARIABLES = frozenset({"MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_REGISTRY_STORE_URI"})
"""A client's settings: they would make the server talk to itself, or keep its registry elsewhere."""


def command(settings: Settings) -> tuple[str, ...]:
    """Give program and arguments; nothing secret is among them, because everybody can read a command line."""
    return (
        # the working directory stays off the import path: it may hold a `serving` or `drift` of somebody else
        *(sys.executable, "-P", "-m", "mlflow", "server", "--app-name", "mlflow-ext"),
        *("--host", settings.mlflow_host, "--port", str(settings.mlflow_port)),
        *("--workers", str(settings.mlflow_workers)),
    )


def environment(settings: Settings) -> dict[str, str]:
    """Give the variables that the server needs: database, artifacts (which it passes on to clients), and our settings.

    Raises:
        InvalidSettingsError: No database is set.
    """
    database_url = settings.require_database_url()
    return {
        "MLFLOW_BACKEND_STORE_URI": database_url,
        "MLFLOW_ARTIFACTS_DESTINATION": settings.artifacts_url or str(settings.data_dir.absolute() / "artifacts"),
        "MLFLOW_SERVE_ARTIFACTS": "true",
        f"{PREFIX}DATABASE_URL": database_url,
        f"{PREFIX}DATA_DIR": str(settings.data_dir.absolute()),
    }


def main() -> None:
    """Become MLflow's server."""
    from mlflow_ext.config import load

    try:
        settings = load()
        ours = {name: value for name, value in os.environ.items() if name not in CLIENT_VARIABLES}
        ours |= environment(settings)
    except MlflowExtError as exc:
        sys.exit(f"mlflow-ext: {exc}")
    os.execve(sys.executable, command(settings), ours)  # noqa: S606  (there is no shell on purpose)


if __name__ == "__main__":
    main()
