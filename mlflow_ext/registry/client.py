"""Changes to the registry through MLflow's client. The stage API (deprecated in MLflow) is called in this file only."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException

from mlflow_ext.domain.stages import Stage
from mlflow_ext.errors import ConflictError, GateRefusedError, MlflowExtError, NotFoundError, UnavailableError
from mlflow_ext.registry.agreement import agreeing, claiming

_ERRORS: dict[str, type[MlflowExtError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFoundError,
    "RESOURCE_ALREADY_EXISTS": ConflictError,
    "RESOURCE_CONFLICT": ConflictError,
    "PERMISSION_DENIED": GateRefusedError,
}


@contextmanager
def translated() -> Iterator[None]:
    """Turn MLflow's errors into ours.

    Raises:
        NotFoundError: The model, version, run or artifact does not exist.
        ConflictError: It exists already, or the promotion for which it is changed is no longer ours.
        GateRefusedError: MLflow's server refused the change.
        UnavailableError: MLflow's server does not answer, or not sensibly.
    """
    try:
        yield
    except MlflowException as exc:
        raise _ERRORS.get(exc.error_code, UnavailableError)(f"MLflow: {exc.message}") from exc
    except RequestException as exc:
        raise UnavailableError(f"MLflow's server does not answer: {exc}") from exc


def connect(mlflow_url: str) -> MlflowClient:
    """Make a client that gives up within seconds; MLflow's own defaults retry for minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    return MlflowClient(tracking_uri=mlflow_url, registry_uri=mlflow_url)


class MlflowRegistry:
    """The `Registry` port on MLflow's REST API."""

    def __init__(self, client: MlflowClient) -> None:
        """Take a client that points at MLflow's server."""
        self._client = client

    def agreeing(self) -> AbstractContextManager[None]:
        """Mark the writes inside as agreement of marks, no person's word."""
        return agreeing()

    def claiming(self, promotion_id: int, attempt: int) -> AbstractContextManager[None]:
        """Let moves inside be made only while this claim holds."""
        return claiming(promotion_id, attempt)

    def set_stage(self, model: str, version: int, stage: Stage) -> None:
        """Move a version to a stage; only Production archives what was there."""
        with translated(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*stages.*", category=FutureWarning)
            self._client.transition_model_version_stage(
                model, str(version), stage.value, archive_existing_versions=stage is Stage.PRODUCTION
            )

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        with translated():
            self._client.set_registered_model_alias(model, alias, str(version))

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias."""
        with translated():
            self._client.delete_registered_model_alias(model, alias)

    def set_tags(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set version tags."""
        with translated():
            for key, value in tags.items():
                self._client.set_model_version_tag(model, str(version), key, value)

    def delete_tag(self, model: str, version: int, key: str) -> None:
        """Remove a version tag."""
        with translated():
            self._client.delete_model_version_tag(model, str(version), key)

    def set_description(self, model: str, version: int, text: str) -> None:
        """Replace a version's description."""
        with translated():
            self._client.update_model_version(model, str(version), description=text)
