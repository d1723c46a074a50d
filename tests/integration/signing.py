"""Publishers with keys of their own, and models that they sign and register at a real MLflow server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mlflow import MlflowClient
from model_signing import hashing, signing

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.registry.signatures import SIGNATURE
from tests.integration.registered import pointed_at


@dataclass(frozen=True)
class Publisher:
    """A key pair on disk."""

    private: Path
    public: Path

    def sign(self, directory: Path, *, leave_out: tuple[str, ...] = ()) -> None:
        """Sign a saved model, as `model_signing sign key` does."""
        config = hashing.Config().set_ignored_paths(paths=[Path(one) for one in (SIGNATURE, *leave_out)])
        signer = signing.Config().set_hashing_config(config).use_elliptic_key_signer(private_key=self.private)
        signer.sign(directory, directory / SIGNATURE)


def publisher(directory: Path, name: str, *, keep: bool = False) -> Publisher:
    """Make one; with `keep` the one of that name that is there already."""
    made = Publisher(directory / f"{name}.pem", directory / f"{name}.pub")
    if keep and made.public.is_file():
        return made
    key = ec.generate_private_key(ec.SECP256R1())
    made.private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    made.public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return made


def saved(model: Any, directory: Path, **how: Any) -> Path:
    """Save a model as its publisher does before signing it."""
    mlflow.sklearn.save_model(model, str(directory), serialization_format="skops", pip_requirements=[], **how)
    return directory


def registered(mlflow_url: str, name: str, directory: Path, *, data: Path | None = None) -> ModelVersion:
    """Log a saved model's files as they are, and register them."""
    with pointed_at(mlflow_url) as client, mlflow.start_run() as run:
        mlflow.log_artifacts(str(directory), "model")
        if data is not None:
            mlflow.log_artifact(str(data), "data")
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        return _made(client, name, f"{run.info.artifact_uri}/model", run.info.run_id)


def _made(client: MlflowClient, name: str, source: str, run_id: str) -> ModelVersion:
    made = client.create_model_version(name, source, run_id=run_id)
    return ModelVersion(name, int(made.version), run_id=run_id, source=made.source)
