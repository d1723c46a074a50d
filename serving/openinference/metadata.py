"""What the protocol's metadata routes tell: the server, a model, and the index of models."""

from typing import Any

from mlflow_ext.version import VERSION
from serving.pool import LoadedVersion, Pool

NAME = "mlflow-ext"
EXTENSIONS = ["binary_tensor_data"]


def server_metadata() -> dict[str, Any]:
    """Describe the server."""
    return {"name": NAME, "version": VERSION, "extensions": EXTENSIONS}


def model_metadata(loaded: LoadedVersion, versions: list[int]) -> dict[str, Any]:
    """Describe a model by the signature of one version; without one it has no inputs and outputs to show.

    Args:
        loaded: The version.
        versions: The versions that can be asked.
    """
    return {"name": loaded.model, "versions": [str(number) for number in versions], **loaded.metadata}


def repository_index(pool: Pool, *, only_ready: bool) -> list[dict[str, str]]:
    """List the loaded versions of every model and those that could not be loaded.

    Args:
        pool: What is loaded.
        only_ready: Leave out what cannot answer.
    """
    index: list[dict[str, str]] = []
    for model in pool.models():
        states = dict.fromkeys(pool.versions(model), ("READY", ""))
        for number, failure in pool.failures(model).items():
            states.setdefault(number, ("UNAVAILABLE", failure.reason))
        if not states:
            index.append({"name": model, "state": "UNAVAILABLE", "reason": "no version is in Production or Staging"})
        for number, (state, reason) in sorted(states.items()):
            index.append({"name": model, "version": str(number), "state": state, "reason": reason})
    return [one for one in index if one["state"] == "READY" or not only_ready]
