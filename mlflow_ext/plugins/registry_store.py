"""`mlflow.model_registry_store` for PostgreSQL: MLflow's own store, with transitions of one model serialised."""

from typing import Any


def registry_store(store_uri: str) -> Any:
    """Build the store, workspace-aware where MLflow's workspaces are on."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(store_uri)
