"""The one place where a model is loaded: fetched, judged, compared with its pin, and only then handed to MLflow.

Evaluation, serving, replays and the evaluator plugin all come through here; a test holds that
nobody else calls MLflow's loaders. The checks themselves are in `artifacts.py`.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.pyfunc import PyFuncModel

from mlflow_ext.domain.pins import Manifest
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.registry.artifacts import fetch
from mlflow_ext.registry.model_files import manifest_of


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model that was judged and loaded.

    Attributes:
        model: MLflow's model.
        directory: Its files.
        manifest: Their digests, taken before anything of them was loaded.
    """

    model: PyFuncModel
    directory: Path
    manifest: Manifest


def open_model(
    client: MlflowClient,
    version: ModelVersion,
    into: Path,
    *,
    trust: str,
    publishers: Mapping[str, str] | None = None,
    pinned: Manifest | None = None,
    rehearse: Callable[[Path], None] = lambda _: None,
) -> OpenedModel:
    """Load a model version, after everything that can be said against it has been asked.

    Args:
        client: Points at MLflow's server.
        version: Which version.
        into: Where models are kept, `<data_dir>/models`.
        trust: `policy.serving.trust`: `types` or `code`.
        publishers: `policy.serving.publishers`: who must have signed the files, where there are any.
        pinned: The files that passed the gates; `None` for a version that no gates have passed.
        rehearse: Called with the judged files before they are loaded here; raises where they must not be.

    Raises:
        NotFoundError: MLflow knows no such version, or its files are gone.
        UnavailableError: MLflow's server or the artifact store does not answer.
        UnsafeModelError: The files ask for more trust than `trust` gives, or are not the pinned ones.
        Exception: Whatever loading the model raises.
    """
    directory = fetch(client, version, into, trust=trust, publishers=publishers, pinned=pinned)
    manifest = pinned if pinned is not None else manifest_of(directory)
    rehearse(directory)
    return OpenedModel(load_judged(directory), directory, manifest)


def load_judged(directory: Path) -> PyFuncModel:
    """Load files that `fetch` gave, and that nobody else could have changed since.

    They stay as they are: from here on this process writes no bytecode beside the code that it imports, a model's own
    among it, now or with its first prediction.
    """
    sys.dont_write_bytecode = True
    model: PyFuncModel = mlflow.pyfunc.load_model(directory.as_uri(), suppress_warnings=True)
    return model
