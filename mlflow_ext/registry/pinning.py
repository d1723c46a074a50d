"""The last look before a version goes to Production: are its files in the artifact store still those that were judged?

Every later load compares as well (`artifacts.py`); this one makes the promotion itself say what is wrong.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.ports import Pins
from mlflow_ext.registry.artifacts import compare, download
from mlflow_ext.registry.model_files import manifest_of


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """Compares what the artifact store holds now with a version's pin.

    Attributes:
        client: Points at MLflow's server.
        pins: The pins.
    """

    client: MlflowClient
    pins: Pins

    def verify(self, version: ModelVersion) -> None:
        """Download a pinned version anew, and hash it; nothing of it is loaded, and no copy is kept.

        Raises:
            ChangedModelError: Its files are not those that passed the gates.
            UnsafeModelError: They are no files that may be downloaded.
            NotFoundError: They are gone.
            UnavailableError: MLflow, the artifact store or PostgreSQL does not answer.
        """
        pin = self.pins.get(version.model, version.version)
        if pin is None:
            return
        with tempfile.TemporaryDirectory(prefix="mlflow-ext-pin-") as scratch:
            compare(manifest_of(download(self.client, version, Path(scratch))), pin.manifest, version)
