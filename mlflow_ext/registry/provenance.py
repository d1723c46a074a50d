"""Examines a version's files for the gate `provenance`; nothing of them is loaded."""

from collections.abc import Mapping
from pathlib import Path

from mlflow_ext.domain.provenance import Provenance
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import UnsafeModelError
from mlflow_ext.registry.artifacts import check
from mlflow_ext.registry.model_files import manifest_of
from mlflow_ext.registry.signatures import UnsignedError, signer


def examine(directory: Path, version: ModelVersion, publishers: Mapping[str, str]) -> Provenance:
    """Say what the files show: structure and types as under `trust: types`, digests, and who signed them."""
    refused, publisher, unsigned = "", None, ""
    try:
        check(directory, version, trust="types")
    except UnsafeModelError as exc:
        refused = str(exc)
    if publishers:
        try:
            publisher = signer(directory, publishers)
        except UnsignedError as exc:
            unsigned = str(exc)
    return Provenance(manifest_of(directory), refused, publisher, unsigned)
