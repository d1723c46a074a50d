"""`mlflow.app`: MLflow's own server application with our routes (`mlflow server --app-name mlflow-ext`)."""

from typing import Any


def create_app() -> Any:
    """Build MLflow's FastAPI application."""
    from mlflow.server.fastapi_app import create_fastapi_app

    return create_fastapi_app()
