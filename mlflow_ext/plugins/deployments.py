"""`mlflow.deployments`: target `mlflow-ext`. A deployment is a registered model that the promotion service answers for.

Nothing is deployed from here in the sense of copying files: marking a version is enough, the service follows the marks.
MLflow wants exactly one client class in this module, beside `run_local` and `target_help`.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlflow.deployments.base import BaseDeploymentClient

if TYPE_CHECKING:
    from mlflow_ext.config import Settings

_TIMEOUT_S = 60.0
_LOOK_S = 0.1

_HELP = """
Target `mlflow-ext`: the promotion service of mlflow-ext.

TARGET URI
  mlflow-ext                         the service of MLFLOW_EXT_SERVING_URL, or of the `mlflow-ext up` that runs here
  mlflow-ext:http://host:8000        the service at this address

Where the service asks for tokens (`auth: token`), MLFLOW_EXT_TOKEN holds one with the rights `read` and `score`.
MLflow's registry is the one that MLFLOW_TRACKING_URI (or MLFLOW_REGISTRY_URI) names, as for every MLflow client.

WHAT A DEPLOYMENT IS
  Its name is the name of the registered model. Its version is the one in Production.
  create, update   mark a version of that model. MODEL_URI is `models:/NAME/VERSION`, `models:/NAME@ALIAS`, or any other
                   model (`runs:/RUN/model`, `models:/m-…`), which is registered under the deployment's name first.
                   By default the version goes to Staging: the model's gates are run, and when they pass it becomes
                   Production and answers. `create` refuses a model that already has a version in Production.
  delete           archives the version in Production; the service then answers 503 for the model. Versions and files
                   stay in the registry. Deleting what is not deployed is fine.
  list, get        what the service answers with now: version, since when, what is loaded, what could not be loaded.
  predict          POST /models/NAME/invocations; MLflow's scoring protocol.
  run-local        the same as create or update with stage=Production, on the `mlflow-ext up` that runs in this
                   directory (--data-dir by MLFLOW_EXT_DATA_DIR).

CONFIG (-C key=value)
  stage=Production   set Production directly, without gates (in MLflow, as its UI does); default: Staging
  wait_s=60          wait until the service answers with the version, at most so many seconds; default: 0

FLAVORS and ENDPOINTS do not apply: every model is served as a pyfunc.

EXAMPLE
  mlflow deployments create -t mlflow-ext --name wine -m models:/wine/3 -C wait_s=120
  mlflow deployments predict -t mlflow-ext --name wine -I rows.json
"""


class LifecycleDeploymentClient(BaseDeploymentClient):
    """Deployments of the promotion service; every method raises `MlflowException` only."""

    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)  # type: ignore[no-untyped-call]
        _, _, address = target_uri.partition(":")
        configured = _configured()
        self._address = address.rstrip("/") or configured.serving_url
        self._token = configured.token

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Mark a version of a model that has none in Production."""
        with _translated():
            _no_endpoint(endpoint)
            if (version := _in_production(name)) is not None:
                raise _error(
                    f"'{name}' is deployed already, with version {version}; use update_deployment",
                    "RESOURCE_ALREADY_EXISTS",
                )
            return self._mark(name, model_uri, config)

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Mark another version."""
        with _translated():
            _no_endpoint(endpoint)
            if model_uri is None:
                raise _error("name a version to update to (model_uri=models:/NAME/VERSION)", "INVALID_PARAMETER_VALUE")
            return self._mark(name, model_uri, config)

    def delete_deployment(self, name: str, config: dict[str, Any] | None = None, endpoint: str | None = None) -> None:
        """Withdraw the version in Production; nothing happens when there is none."""
        from mlflow_ext.domain.stages import Stage

        with _translated():
            _no_endpoint(endpoint)
            if (version := _in_production(name)) is not None:
                _registry().set_stage(name, version, Stage.ARCHIVED)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Give the models that the service answers for."""
        with _translated():
            _no_endpoint(endpoint)
            models: list[dict[str, Any]] = self._ask("GET", "/models").json()["models"]
            return [model for model in models if model["version"] is not None]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """Give one model, as the service sees it."""
        with _translated():
            _no_endpoint(endpoint)
            model: dict[str, Any] = self._ask("GET", _path(name)).json()
            if model["version"] is None:
                raise _error(f"'{name}' is not deployed: no version answers for it", "RESOURCE_DOES_NOT_EXIST")
            return model

    def predict(self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None) -> Any:
        """Score inputs.

        Args:
            deployment_name: Registered model.
            inputs: DataFrame, array, list, a body of MLflow's scoring protocol as dictionary or JSON text, or a
                dictionary of columns.
            endpoint: Not supported.

        Returns:
            `mlflow.deployments.PredictionsResponse`.
        """
        from mlflow.deployments import PredictionsResponse

        with _translated():
            _no_endpoint(endpoint)
            if deployment_name is None:
                raise _error("name a deployment to score with", "INVALID_PARAMETER_VALUE")
            answer = self._ask(
                *("POST", f"{_path(deployment_name)}/invocations"),
                content=_body(inputs),
                headers={"Content-Type": "application/json"},
            )
            return PredictionsResponse.from_json(answer.text)  # type: ignore[no-untyped-call]

    def _mark(self, name: str, model_uri: str, config: Mapping[str, Any] | None) -> dict[str, Any]:
        stage, wait_s = _options(config)
        version = _version(name, model_uri)
        _registry().set_stage(name, version, stage)
        if wait_s > 0:
            self._wait(name, version, wait_s)
        return {"name": name, "flavor": "python_function", "version": version, "stage": stage.value}

    def _wait(self, name: str, version: int, wait_s: float) -> None:
        end = time.monotonic() + wait_s
        while True:
            found = self._ask("GET", _path(name), missing_is_fine=True)
            answering = found.json().get("version")
            if answering == version:
                return
            if time.monotonic() > end:
                raise _error(
                    f"version {version} of '{name}' is marked, but after {wait_s:g} s the service still answers with "
                    f"version {answering}; `mlflow-ext promotions {name}` and `mlflow-ext status` say why",
                    "TEMPORARILY_UNAVAILABLE",
                )
            time.sleep(_LOOK_S)

    def _ask(self, method: str, path: str, *, missing_is_fine: bool = False, **request: Any) -> Any:
        import httpx

        headers = request.pop("headers", {})
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        try:
            answer = httpx.request(method, self._address + path, headers=headers, timeout=_TIMEOUT_S, **request)
        except httpx.HTTPError as exc:
            raise _error(
                f"the promotion service at {self._address} does not answer ({exc}); start it with `mlflow-ext up` "
                "or `mlflow-ext serve`, or name its address: mlflow-ext:http://host:port",
                "TEMPORARILY_UNAVAILABLE",
            ) from exc
        if answer.is_success or (missing_is_fine and answer.status_code == 404):
            return answer
        raise _refusal(answer)


def run_local(
    target: str, name: str, model_uri: str, flavor: str | None = None, config: dict[str, Any] | None = None
) -> None:
    """Deploy to the `mlflow-ext up` of this machine, straight to Production."""
    from mlflow_ext.config import load
    from mlflow_ext.running import find

    with _translated():
        if find(load().data_dir) is None:
            raise _error(
                "nothing runs here to deploy to: start everything with `mlflow-ext up` in another terminal (same "
                f"directory) and try again, or serve this one model with `mlflow models serve -m {model_uri}`",
                "TEMPORARILY_UNAVAILABLE",
            )
    LifecycleDeploymentClient(target).update_deployment(
        name, model_uri, flavor, {"stage": "Production", "wait_s": _TIMEOUT_S, **(config or {})}
    )


def target_help() -> str:
    """Say what the target is, and which options it takes."""
    return _HELP


def _configured() -> "Settings":
    from mlflow_ext.bootstrap import running
    from mlflow_ext.config import load

    with _translated():
        return running(load())


def _registry() -> Any:
    from mlflow import MlflowClient

    from mlflow_ext.registry.client import MlflowRegistry

    return MlflowRegistry(MlflowClient())


def _in_production(name: str) -> int | None:
    from mlflow import MlflowClient

    versions = MlflowClient().search_model_versions(f"name = '{name}'")
    return next((int(version.version) for version in versions if version.current_stage == "Production"), None)


def _version(name: str, model_uri: str) -> int:
    """Find the version that a URI names; what is not registered yet is registered under the deployment's name."""
    import mlflow
    from mlflow.store.artifact.utils.models import _parse_model_uri, get_model_name_and_version

    registered = model_uri.startswith("models:/") and _parse_model_uri(model_uri).name is not None
    if not registered:
        return int(mlflow.register_model(model_uri, name).version)
    model, version = get_model_name_and_version(mlflow.MlflowClient(), model_uri)
    if model != name:
        raise _error(
            f"{model_uri} is a version of '{model}'; a deployment has the name of its registered model, '{name}' here",
            "INVALID_PARAMETER_VALUE",
        )
    return int(version)


def _options(config: Mapping[str, Any] | None) -> tuple[Any, float]:
    from mlflow_ext.domain.stages import Stage

    options = dict(config or {})
    stage = Stage.parse(str(options.pop("stage", Stage.STAGING.value)))
    try:
        wait_s = float(options.pop("wait_s", 0))
    except ValueError:
        wait_s = -1.0
    if options or stage not in {Stage.STAGING, Stage.PRODUCTION} or not 0 <= wait_s < float("inf"):
        raise _error(
            "config takes stage=Staging or stage=Production, and wait_s=SECONDS; see `mlflow deployments help -t "
            f"mlflow-ext`; got {dict(config or {})}",
            "INVALID_PARAMETER_VALUE",
        )
    return stage, wait_s


def _body(inputs: Any) -> str:
    from mlflow.utils.proto_json_utils import dump_input_data

    if isinstance(inputs, dict):
        import json

        protocol = {"dataframe_split", "dataframe_records", "instances", "inputs"} & inputs.keys()
        columns = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in inputs.items()}
        return json.dumps(columns if protocol else {"inputs": columns})
    return str(dump_input_data(inputs))


def _path(name: str) -> str:
    from urllib.parse import quote

    return f"/models/{quote(name, safe='')}"


def _no_endpoint(endpoint: str | None) -> None:
    if endpoint is not None:
        raise _error("this target has no endpoints; leave `endpoint` out", "INVALID_PARAMETER_VALUE")


def _refusal(answer: Any) -> Exception:
    """Give the service's own words on."""
    try:
        told = answer.json()
    except ValueError:
        told = {}
    message = told.get("message") or f"the promotion service answered {answer.status_code}"
    if answer.status_code == 401:
        message += "; this client takes its token from MLFLOW_EXT_TOKEN"
    return _error(message, told.get("error_code") or "INTERNAL_ERROR")


def _error(message: str, code: str) -> Exception:
    from mlflow.exceptions import MlflowException
    from mlflow.protos import databricks_pb2

    known: dict[str, int] = dict(databricks_pb2.ErrorCode.items())
    return MlflowException(message, error_code=known.get(code, known["INTERNAL_ERROR"]))


@contextmanager
def _translated() -> Iterator[None]:
    """Let MLflow's users see MLflow's exceptions."""
    from mlflow_ext.errors import ConflictError, GateRefusedError, MlflowExtError, NotFoundError

    codes = {
        NotFoundError: "RESOURCE_DOES_NOT_EXIST",
        ConflictError: "RESOURCE_CONFLICT",
        GateRefusedError: "PERMISSION_DENIED",
    }
    try:
        yield
    except MlflowExtError as exc:
        code = next((code for kind, code in codes.items() if isinstance(exc, kind)), "TEMPORARILY_UNAVAILABLE")
        raise _error(str(exc), code) from exc
