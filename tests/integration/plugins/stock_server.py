"""MLflow's server with MLflow's own registry store, although ours is installed: what we compare with."""

from mlflow.server.fastapi_app import app
from mlflow.server.handlers import ModelRegistryStoreRegistryWrapper, _model_registry_store_registry

_model_registry_store_registry.register("postgresql", ModelRegistryStoreRegistryWrapper._get_sqlalchemy_store)

__all__ = ["app"]
