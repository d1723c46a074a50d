"""What is served, and outcomes sent back."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request

from mlflow_ext.errors import NotFoundError
from serving.feedback import parse
from serving.parts import Parts
from serving.routes.scoring import Name
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
    async def models() -> dict[str, Any]:
        """Every registered model, the version that answers, what else is loaded, and what could not be."""
        return {"models": [parts.pool.describe(model) for model in parts.pool.models()], "ready": parts.is_ready()}

    @router.get("/models/{name}")
    async def model(name: Name) -> dict[str, Any]:
        """One model, as in the list."""
        return parts.pool.describe(known(name))

    @router.post("/models/{name}/feedback", openapi_extra=_DOCUMENTED)
    async def feedback(request: Request, name: Name) -> dict[str, int]:
        """Send outcomes of earlier predictions; sending the same again changes nothing."""
        rows = parse(await read_body(request, parts))
        loop = asyncio.get_running_loop()
        return {"stored": await loop.run_in_executor(parts.threads, parts.feedback.add, known(name), rows)}

    return router
