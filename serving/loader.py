"""From a version in the registry to one that can answer: fetch, judge, load, warm. When to do so: `watcher.py`."""

import gc
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_ext.domain.pins import Manifest
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.domain.twins import TwinRefusedError
from mlflow_ext.errors import MlflowExtError, UnavailableError
from mlflow_ext.policy import ServingPolicy
from mlflow_ext.registry.artifacts import directory_of
from mlflow_ext.registry.loading import load_judged, open_model
from mlflow_ext.registry.model_files import manifest_of
from serving.codecs import mlflow_protocol
from serving.onnx_engine import OfferedTwin
from serving.plan import compile_plan
from serving.pool import LoadedVersion
from serving.quantised_twin import OfferedQuantisedTwin
from serving.rehearsal import ModelLoadError
from serving.twins import Twins

logger = logging.getLogger(__name__)

INPUT_EXAMPLE = "serving_input_example.json"
"""The input example as MLflow saves it: a request body in its scoring protocol."""
KEPT_EXAMPLE_BYTES = 64 * 1024
"""Largest input example that is kept to be shown."""


PREPARED = ("mlflow.sklearn", "skops.io", "sklearn.pipeline", "pandas")
"""What loading most models imports; seconds of it, better spent before the first model is wanted."""


def prepare() -> None:
    """Import what the first load would otherwise wait for."""
    for module in PREPARED:
        import_module(module)


class Loader:
    """Loads versions from MLflow; a call takes from milliseconds to minutes and belongs on a thread of its own."""

    def __init__(
        self,
        client: MlflowClient,
        directory: Path,
        policy: Callable[[str], ServingPolicy],
        pinned: Callable[[str, int], Manifest | None],
        rehearsal: Callable[[Path], None],
        twins: Twins,
    ) -> None:
        """Take what a load needs.

        Args:
            client: Points at MLflow's server.
            directory: Where files are kept.
            policy: How a model is served.
            pinned: By model and version, the files that passed the gates.
            rehearsal: Loads judged files in another process first, and raises where that went wrong.
            twins: Finds ONNX twins.
        """
        self._client = client
        self._directory = directory
        self._policy = policy
        self._pinned = pinned
        self._rehearsal = rehearsal
        self._twins = twins

    def load(self, version: ModelVersion) -> LoadedVersion:
        """Load one version and let it predict its input example once, when it has one.

        Raises:
            NotFoundError: MLflow does not have it.
            UnavailableError: MLflow or its artifact store does not answer.
            UnsafeModelError: Its files ask for more trust than policy gives, or are not those that passed the gates.
            ModelLoadError: It cannot be loaded, or cannot answer its own input example.
        """
        return self._load(version, self._pinned(version.model, version.version))

    def load_again(self, version: ModelVersion, digest: str) -> LoadedVersion:
        """Load a version that was served from here before, without PostgreSQL and MLflow.

        Args:
            version: The version.
            digest: Of the manifest of its files, as they were when they were served.

        Raises:
            UnavailableError: This machine has no copy of its files, or another one; MLflow has to be asked.
            UnsafeModelError: As for `load`.
            ModelLoadError: As for `load`.
        """
        directory = directory_of(version, self._directory)
        manifest = manifest_of(directory) if directory.is_dir() else None
        if manifest is None or manifest.digest != digest:
            state = "not there" if manifest is None else "changed"
            raise UnavailableError(
                f"PostgreSQL does not say what is in Production, and this machine's copy of version {version.version} "
                f"of model {version.model!r}, served last, is {state}"
            )
        return self._load(version, manifest)

    def with_twin(self, loaded: LoadedVersion) -> LoadedVersion:
        """Have the twin of a loaded version made, which takes seconds; gives the version as it is to answer then."""
        tolerance, wanted = self._policy(loaded.model).onnx_tolerance, self._policy(loaded.model).engine == "onnx"
        version = ModelVersion(loaded.model, loaded.version, source=loaded.source, workspace=loaded.workspace)
        directory = directory_of(version, self._directory)

        def make() -> bytes:
            # the files may have been changed since they were judged
            if not directory.is_dir() or manifest_of(directory).digest != loaded.digest:
                raise TwinRefusedError("the copy of its files is gone or was changed")
            return self._twins.make(directory, tolerance)

        twin = OfferedTwin(make, tolerance, wanted=wanted)
        answer = partial(mlflow_protocol.accepted, loaded)
        plan = compile_plan(loaded.predictor, loaded.input_schema, answer, twin=twin)
        found = plan is not None and plan.engine == "onnx"
        better = replace(
            loaded, plan=plan if found else loaded.plan, twin_refused=None if found else twin.refused, twin_later=False
        )
        logger.info(
            "event=twin_tried model=%r version=%d engine=%s twin_refused=%r",
            *(better.model, better.version, better.engine, better.twin_refused),
        )
        return better

    def _load(self, version: ModelVersion, pinned: Manifest | None) -> LoadedVersion:
        began = time.perf_counter()
        policy = self._policy(version.model)
        try:
            opened = open_model(
                *(self._client, version, self._directory),
                trust=policy.trust,
                publishers=policy.publishers,
                pinned=pinned,
                rehearse=self._rehearsal,
            )
            input_schema = opened.model.metadata.get_input_schema()
        except MlflowExtError:
            raise
        except MemoryError as exc:
            raise UnavailableError("there is not enough memory to load it") from exc
        # a model's own loading code may raise anything; whatever it is, this version does not serve
        except Exception as exc:
            raise ModelLoadError(_reason("it cannot be loaded", exc)) from exc
        loaded = LoadedVersion(
            *(version.model, version.version, version.source, opened.model, input_schema),
            workspace=version.workspace,
            digest=opened.manifest.digest,
        )
        example = _input_example(opened.directory)
        if example is not None:
            _warm(loaded, example)
        twin = None
        if policy.engine != "python":
            key = version.model, version.version
            find = partial(self._twins.find, *key, policy.onnx_tolerance, pinned=pinned is not None)
            small = partial(self._twins.find_quantised, *key, policy.quantise_loss, pinned=pinned is not None)
            quantised = OfferedQuantisedTwin(small) if policy.quantise == "int8" else None
            wanted = policy.engine == "onnx"
            twin = OfferedTwin(find, policy.onnx_tolerance, wanted=wanted, quantised=quantised)
        answer = partial(mlflow_protocol.accepted, loaded)
        plan = compile_plan(opened.model, input_schema, answer, kernels=policy.engine != "python", twin=twin)
        # what a load leaves lives long: Python's collector need not stop all requests to look at it again and again
        gc.freeze()
        kept = example if example is not None and len(example) <= KEPT_EXAMPLE_BYTES else None
        loaded = replace(
            loaded,
            load_s=time.perf_counter() - began,
            plan=plan,
            twin_refused=twin.refused if twin else None,
            twin_later=twin.later if twin else False,
            example=kept,
        )
        logger.info(
            "event=version_loaded model=%r version=%d load_s=%.3f engine=%s%s",
            *(version.model, version.version, loaded.load_s, loaded.engine),
            f" twin_refused={loaded.twin_refused!r}" if loaded.twin_refused else "",
        )
        return loaded


def rehearse(directory: Path) -> None:
    """Load judged files and let them predict their input example, for the sake of what may go wrong.

    Raises:
        ModelLoadError: They cannot be loaded, or cannot answer their own input example.
        MemoryError: There is not enough memory.
    """
    try:
        model = load_judged(directory)
        input_schema = model.metadata.get_input_schema()
    except MemoryError:
        raise
    # a model's own loading code may raise anything; whatever it is, this version does not serve
    except Exception as exc:
        raise ModelLoadError(_reason("it cannot be loaded", exc)) from exc
    example = _input_example(directory)
    if example is not None:
        _warm(LoadedVersion("rehearsal", 0, None, model, input_schema), example)


def _warm(loaded: LoadedVersion, example: bytes) -> None:
    answer = mlflow_protocol.answer(loaded, example, "application/json")
    if answer.status != 200:
        raise ModelLoadError(f"it does not answer its own input example: {_message(answer.error)}")


def _input_example(directory: Path) -> bytes | None:
    file = directory / INPUT_EXAMPLE
    return file.read_bytes() if file.is_file() else None


def _reason(what: str, exc: Exception) -> str:
    text = exc.message if isinstance(exc, MlflowException) else str(exc)
    return f"{what}: {type(exc).__name__}: {' '.join(text.split())[:500]}"


def _message(error: dict[str, Any] | None) -> str:
    return str((error or {}).get("message", "no reason given"))[:500]
