"""What the store's tests share."""

import pytest
from mlflow import MlflowClient


@pytest.fixture
def client(database_url: str) -> MlflowClient:
    """A client on the test's database, with a version of model `wine`."""
    client = MlflowClient(database_url, database_url)
    client.create_registered_model("wine")
    client.create_model_version("wine", "s3://bucket/model")
    return client
