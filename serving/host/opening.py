"""From a version in the registry to one that can answer, inside a model host: fetch, judge, load, warm, compile.

When to do so: `watcher.py`; who asks: `loader.py`.
"""

import gc
import json
import logging
import resource
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_ext.domain.pins import Manifest
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.domain.twins import TwinNotMadeError
from mlflow_ext.errors import MlflowExtError, UnavailableError
from mlflow_ext.registry.artifacts import directory_of
from mlflow_ext.registry.loading import open_model
from mlflow_ext.registry.model_files import manifest_of
from serving.asked import Began, Opened
from serving.codecs import mlflow_protocol
from serving.compiled_plans import pack
from serving.host.compiling import compile_plan
from serving.host.limits import LoadLimits
from serving.host.logged_rows import LoggedRows
from serving.host.onnx_engine import OfferedTwin
from serving.host.opened import OpenedVersion
from serving.host.quantised_twin import OfferedQuantisedTwin
from serving.host.twins import Twins
from serving.host.warming import predict_logged
from serving.host_request import HostRequest, ModelLoadError
from serving.model_api import describe_api
from serving.openinference.signature import interface_of

logger = logging.getLogger(__name__)

INPUT_EXAMPLE = "serving_input_example.json"
"""The input example as MLflow saves it: a request body in its scoring protocol."""
KEPT_EXAMPLE_BYTES = 64 * 1024
"""Largest input example that is kept to be shown."""
PREPARED = ("mlflow.sklearn", "skops.io", "sklearn.pipeline", "sklearn.ensemble", "sklearn.compose", "pandas")
"""What loading most models imports; seconds of it, better spent before the first model is wanted."""


def prepare() -> None:
    """Import what the first load would otherwise wait for."""
    for module in PREPARED:
        import_module(module)


def open_version(request: HostRequest, tell: Callable[[Began], None]) -> tuple[OpenedVersion, Opened, list[memoryview]]:
    """Open a version; everything that is bounded by time is told when it begins.

    Returns:
        The version, what is told of it, and its plan's arrays.

    Raises:
        NotFoundError: MLflow does not have it.
        UnavailableError: MLflow or its artifact store does not answer; or the copy that is wanted is not there.
        UnsafeModelError: Its files ask for more trust than policy gives, or are not those that passed the gates.
        ModelLoadError: It cannot be loaded, cannot answer its own input example, or takes more memory than it may.
    """
    version, policy = request.version, request.policy
    client = MlflowClient(tracking_uri=request.mlflow_url, registry_uri=request.mlflow_url)
    pinned = request.pinned if request.digest is None else _copied(version, request.directory, request.digest)
    logged = LoggedRows(request.logged, policy.warm_rows, policy.warm_within_s)
    limits: list[LoadLimits] = []

    def judged(directory: Path) -> None:
        tell(Began("fetched"))
        limits.append(LoadLimits(request.timeout_s, request.memory_bytes))

    try:
        files = open_model(
            *(client, version, request.directory),
            trust=policy.trust,
            publishers=policy.publishers,
            pinned=pinned,
            rehearse=judged,
        )
        input_schema = files.model.metadata.get_input_schema()
    except MlflowExtError:
        raise
    except MemoryError as exc:
        raise ModelLoadError(f"loading it takes more than {request.memory_bytes} bytes of memory") from exc
    # a model's own loading code may raise anything; whatever it is, this version does not serve
    except Exception as exc:
        raise ModelLoadError(_reason("it cannot be loaded", exc)) from exc
    bare = OpenedVersion(version.model, version.version, version.source, files.model, input_schema)
    example = _input_example(files.directory)
    if example is not None:
        _warm(bare, example)
    limits[0].renew()
    tell(Began("loaded"))
    warmed = predict_logged(bare, logged.requests(), policy.warm_within_s)
    limits[0].lift()
    tell(Began("warmed"))
    twin = _offered(request, client, files.directory)
    answer = partial(mlflow_protocol.accepted, bare)
    made = compile_plan(files.model, input_schema, answer, kernels=policy.engine != "python", twin=twin)
    # what a load leaves lives long: Python's collector need not stop all requests to look at it again and again
    gc.freeze()
    kept = example if example is not None and len(example) <= KEPT_EXAMPLE_BYTES else None
    opened = OpenedVersion(
        *(version.model, version.version, version.source, files.model, input_schema),
        plan=made.plan if made else None,
        example=kept,
    )
    names = None if input_schema is None else [name for name in input_schema.input_names() if isinstance(name, str)]
    plan, arrays = pack(made.compiled) if made else (None, [])
    message = Opened(
        digest=files.manifest.digest,
        plan=plan,
        array_sizes=[array.nbytes for array in arrays],
        twin_refused=twin.refused if twin else None,
        twin_later=twin.later if twin else False,
        inputs=names,
        described=json.dumps(describe_api(opened)).encode(),
        metadata=interface_of(files.model.metadata, input_schema),
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        warmed_rows=warmed.rows,
        passed_over=warmed.passed_over,
        bodies=[*([] if kept is None else [kept]), *warmed.bodies],
    )
    return opened, message, arrays


def _copied(version: ModelVersion, models: Path, digest: str) -> Manifest:
    """Give the files of a version that this machine has, if they are the wanted ones."""
    directory = directory_of(version, models)
    manifest = manifest_of(directory) if directory.is_dir() else None
    if manifest is None or manifest.digest != digest:
        state = "not there" if manifest is None else "changed"
        raise UnavailableError(
            f"this machine's copy of version {version.version} of model {version.model!r}, served last, is {state}"
        )
    return manifest


def _offered(request: HostRequest, client: MlflowClient, directory: Path) -> OfferedTwin | None:
    policy, version = request.policy, request.version
    if policy.engine == "python":
        return None
    twins = Twins(client, request.directory, lambda *_: request.judged)
    pinned = request.pinned is not None

    def find() -> bytes:
        try:
            return twins.find(version.model, version.version, policy.onnx_tolerance, pinned=pinned)
        except TwinNotMadeError:
            if not request.make_twin:
                raise
            return twins.make(directory, policy.onnx_tolerance)

    small = partial(twins.find_quantised, version.model, version.version, policy.quantise_loss, pinned=pinned)
    quantised = OfferedQuantisedTwin(small) if policy.quantise == "int8" else None
    return OfferedTwin(find, policy.onnx_tolerance, wanted=policy.engine == "onnx", quantised=quantised)


def _warm(opened: OpenedVersion, example: bytes) -> None:
    answer = mlflow_protocol.answer(opened, example, "application/json")
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
