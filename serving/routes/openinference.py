"""Open Inference Protocol v2 over REST: what is there, is it ready, and inference."""

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from mlflow_ext.errors import InvalidInputError
from serving.asked import Asked
from serving.codecs.answer import error
from serving.compression import accepted
from serving.openinference.http_form import HEADER_LENGTH
from serving.openinference.metadata import model_metadata, repository_index, server_metadata
from serving.parts import Parts
from serving.pool import LoadedVersion
from serving.routes.scoring import Name, Version, origin
from serving.scoring import ScoringRequest
from serving.web import id_of, read_body, response

_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {"type": "array", "items": {}},
        "parameters": {"type": "object"},
    },
}
_DOCUMENTED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Tensors; with the header Inference-Header-Content-Length their data may follow as raw bytes",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "parameters": {"type": "object"},
                        "inputs": {"type": "array", "items": _TENSOR},
                        "outputs": {"type": "array", "items": {"type": "object"}},
                    },
                },
                "example": {
                    "id": "1",
                    "inputs": [{"name": "a", "datatype": "FP64", "shape": [2], "data": [1.0, 2.0]}],
                },
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "responses": {
        "200": {"description": "The outputs; headers X-Request-Id, X-Model-Name, X-Model-Version"},
        "400": {"description": "The tensors do not fit the model"},
        "404": {"description": "No such model, or the version is not loaded"},
        "413": {"description": "The body is too large"},
        "415": {"description": "Another content encoding than gzip and deflate"},
        "503": {"description": "The model has no version in Production, or it could not be loaded"},
        "504": {"description": "The model took too long"},
    },
}


def routes(parts: Parts) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    def loaded(name: str, version: int | None) -> LoadedVersion:
        return parts.pool.champion(name) if version is None else parts.pool.version(name, version)

    async def infer(request: Request, model: str, version: int | None) -> Response:
        id_ = id_of(request)
        encoding = accepted(request.headers.get("accept-encoding", ""))
        header_length = _header_length(request)
        body = await read_body(request, parts)
        asked = Asked("tensors", body, request.headers.get("content-type"), header_length, encoding)
        scored = await parts.scorer.score(ScoringRequest(id_, model, version, asked))
        return response(scored.answer, id_, origin(scored), path=request.url.path)

    def metadata(name: str, version: int | None) -> dict[str, Any]:
        one = loaded(name, version)
        return model_metadata(one, parts.pool.versions(name) if version is None else [version])

    @router.get("")
    async def server() -> dict[str, Any]:
        """Name, version and extensions of the server."""
        return server_metadata()

    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        """200 while the process answers."""
        return {"live": True}

    @router.get("/health/ready")
    async def ready(request: Request) -> Response:
        """200 once every Production version that can be loaded is loaded; 503 before, and while stopping."""
        if parts.stopping.is_set() or not parts.is_ready():
            waiting = error(503, "TEMPORARILY_UNAVAILABLE", "The service is loading its models, or stopping.")
            return response(waiting, id_of(request), path=request.url.path)
        return Response('{"ready":true}', media_type="application/json")

    @router.get("/models/{name}")
    async def model(name: Name) -> dict[str, Any]:
        """Inputs and outputs of a model's Production version."""
        return metadata(name, None)

    @router.get("/models/{name}/versions/{version}")
    async def model_version(name: Name, version: Version) -> dict[str, Any]:
        """Inputs and outputs of one version."""
        return metadata(name, version)

    @router.get("/models/{name}/ready")
    async def model_ready(name: Name) -> dict[str, Any]:
        """200 when a version of the model is in Production and loaded."""
        return {"name": loaded(name, None).model, "ready": True}

    @router.get("/models/{name}/versions/{version}/ready")
    async def version_ready(name: Name, version: Version) -> dict[str, Any]:
        """200 when the version is loaded."""
        return {"name": loaded(name, version).model, "ready": True}

    @router.post("/models/{name}/infer", openapi_extra=_DOCUMENTED)
    async def model_infer(request: Request, name: Name) -> Response:
        """Infer with a model's Production version."""
        return await infer(request, name, None)

    @router.post("/models/{name}/versions/{version}/infer", openapi_extra=_DOCUMENTED)
    async def version_infer(request: Request, name: Name, version: Version) -> Response:
        """Infer with one version."""
        return await infer(request, name, version)

    @router.post("/repository/index")
    async def index(request: Request) -> list[dict[str, str]]:
        """Each model the caller may see, its versions and their state; with `{"ready": true}` those that answer."""
        index = repository_index(parts.pool, only_ready=_only_ready(await read_body(request, parts)))
        return [one for one in index if request.state.caller.sees(one["name"])]

    return router


def _header_length(request: Request) -> int | None:
    """Read how much of the body is JSON.

    Raises:
        InvalidInputError: The header is not a number of bytes.
    """
    given = request.headers.get(HEADER_LENGTH)
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 16):
        raise InvalidInputError(f"{HEADER_LENGTH} is not a number of bytes")
    return int(given)


def _only_ready(body: bytes) -> bool:
    if not body:
        return False
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError("the body is neither empty nor JSON") from exc
    only_ready = document.get("ready", False) if isinstance(document, dict) else None
    if not isinstance(only_ready, bool):
        raise InvalidInputError('the body is not an object such as {"ready": true}')
    return only_ready
