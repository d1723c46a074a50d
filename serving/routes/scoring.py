"""Scoring over MLflow's protocol: the default model, a model by name, a version by number."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response

from mlflow_ext.errors import NotFoundError
from serving.asked import Asked
from serving.parts import Parts
from serving.pool import LoadedVersion
from serving.scoring import Scored, ScoringRequest
from serving.web import id_of, read_body, response

NUMERIC = {"type": "array", "items": {}}
_DOCUMENTED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "MLflow's scoring protocol",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "description": "Exactly one of the four forms of input; params beside it",
                    "properties": {
                        "dataframe_split": {"type": "object", "properties": {"columns": NUMERIC, "data": NUMERIC}},
                        "dataframe_records": {"type": "array", "items": {"type": "object"}},
                        "instances": {},
                        "inputs": {},
                        "params": {"type": "object"},
                    },
                },
                "example": {"dataframe_split": {"columns": ["a", "b"], "data": [[1.0, 2.0]]}},
            },
            "text/csv": {"schema": {"type": "string"}},
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "responses": {
        "200": {"description": '`{"predictions": …}`; headers X-Request-Id, X-Model-Name, X-Model-Version'},
        "400": {"description": "The input does not fit the model"},
        "404": {"description": "No such model, or the version is not loaded"},
        "413": {"description": "The body is too large"},
        "415": {"description": "Another content type or charset"},
        "503": {"description": "The model has no version in Production, or it could not be loaded"},
        "504": {"description": "The model took too long"},
    },
}

Name = Annotated[str, Path(description="Name of a registered model, percent-encoded")]
Version = Annotated[int, Path(ge=1, lt=2**31, description="Version in Production or Staging, or in Production lately")]


def routes(parts: Parts) -> APIRouter:
    """Make the routes."""
    router = APIRouter(tags=["scoring"])

    async def score(request: Request, model: str, version: int | None) -> Response:
        id_ = id_of(request)
        body = await read_body(request, parts)
        asked = Asked("mlflow", body, request.headers.get("content-type"))
        scored = await parts.scorer.score(ScoringRequest(id_, model, version, asked))
        return response(scored.answer, id_, origin(scored))

    @router.post("/invocations", openapi_extra=_DOCUMENTED)
    async def invocations(request: Request) -> Response:
        """Score with the default model's Production version."""
        model = parts.settings.default_model
        if model is None:
            raise NotFoundError(
                "no default model is set: use /models/NAME/invocations, or set MLFLOW_EXT_DEFAULT_MODEL=NAME"
            )
        return await score(request, model, None)

    @router.post("/models/{name}/invocations", openapi_extra=_DOCUMENTED)
    async def model_invocations(request: Request, name: Name) -> Response:
        """Score with a model's Production version."""
        return await score(request, name, None)

    @router.post("/models/{name}/versions/{version}/invocations", openapi_extra=_DOCUMENTED)
    async def version_invocations(request: Request, name: Name, version: Version) -> Response:
        """Score with one version."""
        return await score(request, name, version)

    return router


def origin(scored: Scored) -> dict[str, str]:
    """Give the headers that name the version which answered."""
    return {} if scored.by is None else version_headers(scored.by)


def version_headers(loaded: LoadedVersion) -> dict[str, str]:
    """Name a version in headers."""
    return {"X-Model-Name": header_text(loaded.model), "X-Model-Version": str(loaded.version)}


def header_text(text: str) -> str:
    """Write a name so that a header can carry it: percent-encoded where it is not printable ASCII."""
    if text.isascii() and text.isprintable() and "%" not in text:
        return text
    return quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
