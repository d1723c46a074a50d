"""A model version's files: fetched once into a directory of their own, and judged before anything loads them.

Loading a model is running whatever its files ask for, so everything that loads one does it through `loading.py`, which
calls `fetch` first. The checks, in their order: the files (`model_files.py`), who signed them (`signatures.py`), the
MLmodel (`mlmodel_file.py`), the skops file as an archive and by its types (`skops_file.py`), the digests that passed
the gates.
"""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlparse

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_ext.domain.pins import Manifest
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import ChangedModelError, NotFoundError, UnsafeModelError
from mlflow_ext.registry import mlmodel_file, skops_file
from mlflow_ext.registry.client import translated
from mlflow_ext.registry.mlmodel_file import AsksTooMuchError
from mlflow_ext.registry.model_files import (
    MAX_DEPTH,
    MAX_FILES,
    BadFilesError,
    check_files,
    check_listing,
    manifest_of,
)
from mlflow_ext.registry.signatures import UnsignedError, signer


def fetch(
    client: MlflowClient,
    version: ModelVersion,
    into: Path,
    *,
    trust: Literal["types", "code"] | str,
    publishers: Mapping[str, str] | None = None,
    pinned: Manifest | None = None,
) -> Path:
    """Give a directory with a model version's files, downloaded when they are not there yet, and safe to load.

    The directory is keyed by model, version and source, appears complete or not at all, and is shared by processes.

    Args:
        client: Points at MLflow's server.
        version: Which version.
        into: Where models are kept, `<data_dir>/models`.
        trust: `policy.serving.trust`: `types` or `code`.
        publishers: `policy.serving.publishers`: who must have signed the files, where there are any.
        pinned: The files that passed the gates; `None` for a version that no gates have passed.

    Raises:
        NotFoundError: MLflow knows no such version, or its files are gone.
        UnavailableError: MLflow's server or the artifact store does not answer.
        UnsafeModelError: The files are broken, or ask for more trust than `trust` gives; the message says which line
            of policy or which argument of `log_model` changes that.
        ChangedModelError: The files are not those that passed the gates.
    """
    directory = directory_of(version, into)
    if directory.is_dir():
        try:
            check(directory, version, trust=trust, publishers=publishers, pinned=pinned)
        except UnsafeModelError:
            # either policy changed, or the cached copy did; a fresh copy settles which
            shutil.rmtree(directory, ignore_errors=True)
        else:
            return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=directory.parent) as partial:
        found = download(client, version, Path(partial))
        check(found, version, trust=trust, publishers=publishers, pinned=pinned)
        try:
            found.rename(directory)
        except OSError:
            # another process was first; its copy passed the same check
            if not directory.is_dir():
                raise
    return directory


def directory_of(version: ModelVersion, into: Path) -> Path:
    """Say where `fetch` keeps a version's files; they need not be there."""
    return into / _folder(version.model) / _key(version)


def check(
    directory: Path,
    version: ModelVersion,
    *,
    trust: str,
    publishers: Mapping[str, str] | None = None,
    pinned: Manifest | None = None,
) -> None:
    """Judge a model's files without running any of them.

    Raises:
        UnsafeModelError: With the reason and the way out.
        ChangedModelError: They are not the pinned ones.
    """
    types_only = trust != "code"
    try:
        # with the description first, so that a pickle is refused with the words that say how to log it otherwise
        check_files(directory, plain_only=False)
        if publishers:
            signer(directory, publishers)
        description = mlmodel_file.read(directory)
        mlmodel_file.flavors(description)
        mlmodel_file.check_paths(description)
        if types_only:
            file, declared = mlmodel_file.check_plain(directory, description)
            check_files(directory, plain_only=True)
            _check_skops(file, declared)
    except AsksTooMuchError as exc:
        raise _refused(version, str(exc), exc.way_out) from exc
    except UnsignedError as exc:
        raise UnsafeModelError(
            f"{_named(version)} is not loaded: {exc}. The policy loads only what one of its publishers signed "
            f"({', '.join(publishers or ())}); sign the model's files, and register them as a new version"
        ) from exc
    except BadFilesError as exc:
        raise UnsafeModelError(f"{_named(version)} cannot be loaded: {exc}") from exc
    if pinned is not None:
        compare(manifest_of(directory), pinned, version)


def compare(found: Manifest, pinned: Manifest, version: ModelVersion) -> None:
    """Make sure that files are the pinned ones.

    Raises:
        ChangedModelError: They are not; the message names the files.
    """
    if found != pinned:
        raise ChangedModelError(
            f"{_named(version)} is not loaded: its files were changed after the gates had passed "
            f"({pinned.difference(found)}). Register the changed model as a new version, so that it is judged"
        )


def _check_skops(file: Path, declared: list[str]) -> None:
    skops_file.check_archive(file)
    unknown = skops_file.untrusted_types(file, declared)
    if unknown:
        way_out = "use estimators of scikit-learn's own, without functions of yours inside"
        raise AsksTooMuchError(f"it holds types outside our trusted list: {', '.join(unknown)[:1000]}", way_out)


def _folder(model: str) -> str:
    # readable, yet never "..", never too long for a file name, never the same for two models, and without a percent
    # sign: MLflow decodes those in local paths as well
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", model)[:80]
    return f"{readable}-{hashlib.sha256(model.encode()).hexdigest()[:12]}"


def _key(version: ModelVersion) -> str:
    digest = hashlib.sha256(f"{version.workspace}\n{version.source}".encode()).hexdigest()
    return f"{version.version}-{digest[:16]}"


def download(client: MlflowClient, version: ModelVersion, into: Path) -> Path:
    """Download a version's files, within bounds, into an empty directory; nothing says yet that they may be loaded.

    Raises:
        NotFoundError: MLflow knows no such version, or its files are gone.
        UnavailableError: MLflow's server or the artifact store does not answer.
        UnsafeModelError: They are too many or too large, or links.
    """
    with translated():
        uri = client.get_model_version_download_uri(version.model, str(version.version))
        _check_source(client, version, uri)
        path = Path(
            download_artifacts(artifact_uri=uri, dst_path=str(into / "files"), tracking_uri=client.tracking_uri)
        )
    if not path.is_dir() or not any(path.iterdir()):
        raise NotFoundError(f"{_named(version)} has no files at {uri}; register it again")
    return path


def _check_source(client: MlflowClient, version: ModelVersion, uri: str) -> None:
    """Bound what would be downloaded, and follow no link of a local directory into the copy."""
    try:
        local = urlparse(uri)
        if local.scheme in ("", "file"):
            check_files(Path(unquote(local.path)), plain_only=False)
        else:
            check_listing(_listing(get_artifact_repository(uri, tracking_uri=client.tracking_uri)))
    except BadFilesError as exc:
        raise UnsafeModelError(f"{_named(version)} is not downloaded: {exc}") from exc


def _listing(repository: ArtifactRepository) -> list[tuple[str, int | None]]:
    found: list[tuple[str, int | None]] = []
    folders: list[str | None] = [None]
    while folders and len(found) <= MAX_FILES:
        folder = folders.pop()
        for entry in repository.list_artifacts(folder):
            if not entry.is_dir:
                found.append((entry.path, entry.file_size))
            elif entry.path.count("/") < MAX_DEPTH:
                folders.append(entry.path)
            else:
                raise BadFilesError(f"'{entry.path[:200]}' lies more than {MAX_DEPTH} folders deep")
    return found


def _named(version: ModelVersion) -> str:
    return f"model '{version.model}' version {version.version}"


def _refused(version: ModelVersion, reason: str, way_out: str) -> UnsafeModelError:
    policy = f"models: {{{version.model!r}: {{serving: {{trust: code}}}}}}"
    either = f"{way_out[0].upper()}{way_out[1:]}; or, if" if way_out else "If"
    return UnsafeModelError(
        f"{_named(version)} is not loaded: {reason}. {either} you trust its publisher with running code here, "
        f"say so in mlflow-ext.yaml: {policy}"
    )
