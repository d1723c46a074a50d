"""A model version's files: fetched once into a directory of their own, and judged before anything loads them.

Loading a model is running whatever its files ask for, so everything that loads one calls `fetch` first. Which types
skops may build is listed in `trusted_types.py`; loading itself lives where the model is needed.
"""

import hashlib
import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Literal

import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import MlflowExtError, NotFoundError, UnsafeModelError
from mlflow_ext.registry.client import translated
from mlflow_ext.registry.trusted_types import TRUSTED_TYPES

MAX_MLMODEL_BYTES = 4 * 1024 * 1024
"""An MLmodel file holds a signature and a few lines; a larger one is no description of a model."""

PREDICT_FUNCTIONS = frozenset({"predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba", "score"})
"""Methods that MLflow's scikit-learn wrapper offers as `pyfunc_predict_fn`."""

_PYFUNC_KEYS = frozenset({"loader_module", "model_path", "env", "python_version", "predict_fn"})
_TYPES = "skops_trusted_types=mlflow_ext.registry.trusted_types.TRUSTED_TYPES"
_HOW_TO_LOG = f"log it with mlflow.sklearn.log_model(model, name='model', serialization_format='skops', {_TYPES})"
_AUTOLOG = "(autolog saves models as cloudpickle: switch that off with mlflow.sklearn.autolog(log_models=False))"


def fetch(client: MlflowClient, version: ModelVersion, into: Path, *, trust: Literal["types", "code"] | str) -> Path:
    """Give a directory with a model version's files, downloaded when they are not there yet, and safe to load.

    The directory is keyed by model, version and source, appears complete or not at all, and is shared by processes.

    Args:
        client: Points at MLflow's server.
        version: Which version.
        into: Where models are kept, `<data_dir>/models`.
        trust: `policy.serving.trust`: `types` or `code`.

    Raises:
        NotFoundError: MLflow knows no such version, or its files are gone.
        UnavailableError: MLflow's server or the artifact store does not answer.
        UnsafeModelError: The files are broken, or ask for more trust than `trust` gives; the message says which line
            of policy or which argument of `log_model` changes that.
    """
    directory = into / _folder(version.model) / _key(version)
    if directory.is_dir():
        try:
            check(directory, version, trust=trust)
        except UnsafeModelError:
            # either policy changed, or the cached copy did; a fresh copy settles which
            shutil.rmtree(directory, ignore_errors=True)
        else:
            return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=directory.parent) as partial:
        found = _download(client, version, Path(partial))
        check(found, version, trust=trust)
        try:
            found.rename(directory)
        except OSError:
            # another process was first; its copy passed the same check
            if not directory.is_dir():
                raise
    return directory


def check(directory: Path, version: ModelVersion, *, trust: str) -> None:
    """Judge a model's files without running any of them.

    Raises:
        UnsafeModelError: With the reason and the way out.
    """
    _check_files(directory, version)
    description = _read_mlmodel(directory, version)
    flavors = description.get("flavors")
    flavors = flavors if isinstance(flavors, dict) else {}
    pyfunc = flavors.get("python_function")
    if not isinstance(pyfunc, dict):
        raise _broken(version, "its MLmodel has no python_function flavor; log it with a flavor that has one")
    if trust == "code":
        return
    loader = pyfunc.get("loader_module")
    if loader != "mlflow.sklearn":
        raise _refused(version, f"it is loaded by '{loader}', which runs code of the model's publisher", "")
    _check_sklearn(directory, version, pyfunc, flavors.get("sklearn"))


def _folder(model: str) -> str:
    # readable, yet never "..", never too long for a file name, never the same for two models, and without a percent
    # sign: MLflow decodes those in local paths as well
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", model)[:80]
    return f"{readable}-{hashlib.sha256(model.encode()).hexdigest()[:12]}"


def _key(version: ModelVersion) -> str:
    digest = hashlib.sha256(f"{version.workspace}\n{version.source}".encode()).hexdigest()
    return f"{version.version}-{digest[:16]}"


def _download(client: MlflowClient, version: ModelVersion, into: Path) -> Path:
    with translated():
        uri = client.get_model_version_download_uri(version.model, str(version.version))
        path = Path(
            download_artifacts(artifact_uri=uri, dst_path=str(into / "files"), tracking_uri=client.tracking_uri)
        )
    if not path.is_dir() or not any(path.iterdir()):
        raise NotFoundError(f"{_named(version)} has no files at {uri}; register it again")
    return path


def _check_files(directory: Path, version: ModelVersion) -> None:
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise _broken(version, f"'{path.relative_to(directory)}' is a link or special file; log plain files")


def _read_mlmodel(directory: Path, version: ModelVersion) -> dict[str, Any]:
    path = directory / "MLmodel"
    if not path.is_file():
        raise _broken(version, "its files have no MLmodel; register a model that MLflow logged")
    if path.stat().st_size > MAX_MLMODEL_BYTES:
        raise _broken(version, f"its MLmodel is larger than {MAX_MLMODEL_BYTES} bytes")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        raise _broken(version, "its MLmodel is not valid YAML; log the model again") from exc
    if not isinstance(document, dict):
        raise _broken(version, "its MLmodel is not a mapping; log the model again")
    return document


def _check_sklearn(directory: Path, version: ModelVersion, pyfunc: dict[str, Any], sklearn: Any) -> None:
    extra = sorted(key for key, value in pyfunc.items() if key not in _PYFUNC_KEYS and value is not None)
    if extra:
        raise _refused(version, f"its MLmodel asks for {', '.join(extra)}", "log it without code of its own")
    if pyfunc.get("predict_fn", "predict") not in PREDICT_FUNCTIONS:
        raise _refused(version, f"it predicts with '{pyfunc['predict_fn']}'", f"use one of {sorted(PREDICT_FUNCTIONS)}")
    if not isinstance(sklearn, dict) or sklearn.get("code") is not None:
        raise _refused(version, "its sklearn flavor is missing or carries code", _HOW_TO_LOG)
    saved_as = sklearn.get("serialization_format", "pickle")
    if saved_as != "skops":
        raise _refused(
            version, f"it is saved as {saved_as}, which can run code when loaded", f"{_HOW_TO_LOG} {_AUTOLOG}"
        )
    file = _inside(directory, version, pyfunc.get("model_path"))
    if sklearn.get("pickled_model") != pyfunc.get("model_path"):
        raise _broken(version, "its two flavors name different files; log the model again")
    declared = sklearn.get("skops_trusted_types") or []
    if not isinstance(declared, list):
        raise _broken(version, "its skops_trusted_types is not a list; log the model again")
    # MLflow trusts what the artifact declares, so both the declared and the contained types must be on our list
    unknown = sorted({*map(str, declared), *_untrusted_types(file, version)} - set(TRUSTED_TYPES))
    if unknown:
        way_out = "use estimators of scikit-learn's own, without functions of yours inside"
        raise _refused(version, f"it holds types outside our trusted list: {', '.join(unknown)[:1000]}", way_out)


def _inside(directory: Path, version: ModelVersion, name: Any) -> Path:
    file = directory / name if isinstance(name, str) else directory
    if not file.is_file() or not file.resolve().is_relative_to(directory.resolve()):
        raise _broken(version, "its model file is missing or outside the model; log the model again")
    return file


def _untrusted_types(file: Path, version: ModelVersion) -> list[str]:
    import skops.io

    try:
        return list(skops.io.get_untrusted_types(file=file))
    # skops reads a stranger's file here and raises whatever its parts raise (KeyError, TypeError, BadZipFile …);
    # each of them means the same: this is not a file that skops wrote
    except Exception as exc:
        kind = "truncated or damaged" if isinstance(exc, zipfile.BadZipFile) else f"unreadable ({type(exc).__name__})"
        raise _broken(version, f"its skops file is {kind}; log the model again") from exc


def _named(version: ModelVersion) -> str:
    return f"model '{version.model}' version {version.version}"


def _broken(version: ModelVersion, reason: str) -> MlflowExtError:
    return UnsafeModelError(f"{_named(version)} cannot be loaded: {reason}")


def _refused(version: ModelVersion, reason: str, way_out: str) -> MlflowExtError:
    policy = f"models: {{{version.model!r}: {{serving: {{trust: code}}}}}}"
    either = f"{way_out[0].upper()}{way_out[1:]}; or, if" if way_out else "If"
    return UnsafeModelError(
        f"{_named(version)} is not loaded: {reason}. {either} you trust its publisher with running code here, "
        f"say so in mlflow-ext.yaml: {policy}"
    )
