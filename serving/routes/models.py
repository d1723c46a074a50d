"""What is served, and outcomes sent back."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from mlflow_ext.errors import NotFoundError
from serving.feedback import parse
from serving.model_page import page_of
from serving.model_paths import paths_of
from serving.parts import Parts
from serving.routes.scoring import Name, Version
from serving.web import read_body

_OUTCOME = {
    "type": "object",
    "required": ["request_id", "value"],
    "properties": {"request_id": {"type": "string"}, "row": {"type": "integer", "default": 0}, "value": {}},
}
_DOCUMENTED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"feedback": {"type": "array", "items": _OUTCOME}}},
                "example": {"feedback": [{"request_id": "5f0c", "row": 0, "value": 1}]},
            }
        },
    }
}


def routes(parts: Parts) -> APIRouter:
    """Make the routes."""
    router = APIRouter(tags=["models"])

    def known(name: str) -> str:
        if not parts.pool.knows(name):
            raise NotFoundError(
                f"there is no registered model {name!r} with a version; GET /models lists those there are"
            )
        return name

    @router.get("/models")
    async def models(request: Request) -> dict[str, Any]:
        """Every model that the caller may ask about: what answers, what else is loaded, what could not be."""
        seen = filter(request.state.caller.sees, parts.pool.models())
        return {"models": [parts.pool.describe(model) for model in seen], "ready": parts.is_ready()}

    @router.get("/models/{name}")
    async def model(name: Name) -> dict[str, Any]:
        """One model, as in the list, with links to the description of its API."""
        own, _ = paths_of(name)
        links = {"openapi": f"{own}/openapi.json", "docs": f"{own}/docs"}
        return {**parts.pool.describe(known(name)), "links": links}

    @router.get("/models/{name}/openapi.json")
    async def openapi(name: Name) -> dict[str, Any]:
        """OpenAPI document of the version in Production: what it takes and gives, by its signature."""
        return parts.pool.champion(name).description

    @router.get("/models/{name}/versions/{version}/openapi.json")
    async def version_openapi(name: Name, version: Version) -> dict[str, Any]:
        """OpenAPI document of one version."""
        return parts.pool.version(name, version).description

    @router.get("/models/{name}/docs", include_in_schema=False)
    async def docs(request: Request, name: Name) -> HTMLResponse:
        """Show the OpenAPI document of the version in Production, to be tried out."""
        return page_of(name, request.scope.get("root_path", ""))

    @router.post("/models/{name}/feedback", openapi_extra=_DOCUMENTED)
    async def feedback(request: Request, name: Name) -> dict[str, int]:
        """Send outcomes of earlier predictions; sending the same again changes nothing."""
        rows = parse(await read_body(request, parts))
        loop = asyncio.get_running_loop()
        return {"stored": await loop.run_in_executor(parts.threads, parts.feedback.add, known(name), rows)}

    return router
