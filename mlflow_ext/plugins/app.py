"""`mlflow.app`: MLflow's own server application with our routes (`mlflow server --app-name mlflow-ext`).

What the pages show lives in `dashboard/`. MLflow must come up whatever the state of our tables: trouble is logged.
"""

import logging
import os
from functools import cache
from typing import Any

_log = logging.getLogger(__name__)


def create_app() -> Any:
    """Build MLflow's FastAPI application; our routes stand before its catch-all mount, behind its middlewares."""
    from mlflow.server.fastapi_app import create_fastapi_app
    from mlflow.server.handlers import STATIC_PREFIX_ENV_VAR

    from mlflow_ext.dashboard.routes import routes

    app = create_fastapi_app()
    catch_all = app.router.routes.pop()
    app.include_router(routes(_engine), prefix=os.environ.get(STATIC_PREFIX_ENV_VAR, "").rstrip("/"))
    app.router.routes.append(catch_all)
    _report_state()
    return app


@cache
def _engine() -> Any:
    """Open the database that this server keeps its registry in.

    Raises:
        InvalidSettingsError: It is not PostgreSQL.
    """
    from mlflow.server.constants import BACKEND_STORE_URI_ENV_VAR, REGISTRY_STORE_URI_ENV_VAR

    from mlflow_ext.errors import InvalidSettingsError
    from mlflow_ext.store.engine import make_engine

    url = os.environ.get(REGISTRY_STORE_URI_ENV_VAR) or os.environ.get(BACKEND_STORE_URI_ENV_VAR) or ""
    try:
        return make_engine(url, name="mlflow-ext dashboard", pool_size=2)
    except ValueError as exc:
        kind = url.partition(":")[0] or "no database"
        raise InvalidSettingsError(
            f"mlflow-ext works on PostgreSQL, this server runs on {kind}: start it with "
            "--backend-store-uri postgresql://user:password@host:5432/mlflow"
        ) from exc


def _report_state() -> None:
    """Say at start what will not work, and what to do about it."""
    from mlflow_ext.dashboard.reading import state_of_schema
    from mlflow_ext.errors import MlflowExtError

    try:
        problems = state_of_schema(_engine())
    except MlflowExtError as exc:
        problems = [str(exc)]
    # whatever it is, MLflow's server starts
    except Exception as exc:
        problems = [f"the state of the tables could not be read: {exc!r}"]
    for problem in problems:
        _log.warning("mlflow-ext: %s. MLflow itself is not affected.", problem)
