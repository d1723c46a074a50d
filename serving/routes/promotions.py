"""Promotions: ask for one, look at them, approve, reject, abort; roll a model back. What is done: `control.py`."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlflow_ext.domain.tokens import Right
from mlflow_ext.errors import InvalidInputError
from serving.authority import without_model
from serving.codecs.answer import Answer
from serving.control import Asked, Verb
from serving.parts import Parts
from serving.routes.scoring import Name
from serving.web import id_of, read_body, response

T = TypeVar("T")
Number = Annotated[int, Path(ge=1, lt=2**63, description="Number of a promotion")]

_ANSWERS = {
    "400": {"description": "The body cannot be understood"},
    "404": {"description": "No such promotion, model or version, or none that the token is for"},
    "409": {"description": "The state does not allow it, or the Idempotency-Key was used for another request"},
    "415": {"description": "The body is not application/json"},
    "503": {"description": "PostgreSQL or MLflow does not answer"},
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PromotionRequest(_Body):
    """What is to be promoted."""

    model: str = Field(min_length=1)
    version: int = Field(ge=1, lt=2**31)
    dry_run: bool = False
    override_reason: str | None = Field(default=None, max_length=2000)


class Decision(_Body):
    """A person's word."""

    comment: str = Field(default="", max_length=2000)


class RollbackRequest(_Body):
    """Why, and optionally which version has to be in Production for it to be done."""

    comment: str = Field(default="", max_length=2000)
    from_version: int | None = Field(default=None, ge=1, lt=2**31)


def routes(parts: Parts) -> APIRouter:
    """Make the routes."""
    router = APIRouter(tags=["promotions"])
    control = parts.control

    async def waiting(work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(parts.deciding, work)

    async def asked(request: Request, kind: type[_Body]) -> Asked:
        # a page in somebody's browser can send other types to any address without asking first
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, "Send JSON: Content-Type must be application/json.")
        try:
            body = kind.model_validate_json(await read_body(request, parts) or b"{}")
        except ValidationError as exc:
            mistakes = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in exc.errors())
            raise InvalidInputError(mistakes) from exc
        route = f"{request.method} {request.url.path}"
        return Asked(request.state.caller, route, body.model_dump(), request.headers.get("idempotency-key"))

    async def answer(request: Request, work: Callable[[], Answer]) -> Response:
        return response(await waiting(work), id_of(request))

    async def decide(request: Request, verb: Verb, promotion: int) -> Response:
        said = await asked(request, Decision)
        return await answer(request, lambda: control.decide(said, verb, promotion))

    @router.post("/promotions", openapi_extra=_documented(PromotionRequest), status_code=202)
    async def promote(request: Request) -> Response:
        """Ask for a promotion: the gates judge the version; with `override_reason` it goes past them in your name."""
        said = await asked(request, PromotionRequest)
        model = said.body["model"]
        if not said.caller.sees(model):
            refused = without_model(Right.PROMOTE, model)
            raise HTTPException(refused.status, refused.message, {"WWW-Authenticate": refused.challenge})
        return await answer(request, lambda: control.request(said))

    @router.get("/promotions")
    async def promotions(
        request: Request,
        model: Annotated[str | None, Query(description="Of this model only")] = None,
        open: Annotated[bool, Query(description="Those that have not ended only")] = False,  # noqa: A002
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        """Promotions of the models that the caller may see, newest first."""
        caller = request.state.caller
        return {"promotions": await waiting(lambda: control.find(caller, model, open_only=open, limit=limit))}

    @router.get("/promotions/{promotion}")
    async def one(request: Request, promotion: Number) -> dict[str, Any]:
        """One promotion with its gates, its story and the words of people."""
        caller = request.state.caller
        return await waiting(lambda: control.get(caller, promotion))

    @router.post("/promotions/{promotion}/approve", openapi_extra=_documented(Decision))
    async def approve(request: Request, promotion: Number) -> Response:
        """Agree to a promotion that waits for people."""
        return await decide(request, "approve", promotion)

    @router.post("/promotions/{promotion}/reject", openapi_extra=_documented(Decision))
    async def reject(request: Request, promotion: Number) -> Response:
        """Refuse a promotion that waits for people; one whose version is in Production is rolled back."""
        return await decide(request, "reject", promotion)

    @router.post("/promotions/{promotion}/abort", openapi_extra=_documented(Decision))
    async def abort(request: Request, promotion: Number) -> Response:
        """End an open promotion."""
        return await decide(request, "abort", promotion)

    @router.post("/models/{name}/rollback", openapi_extra=_documented(RollbackRequest))
    async def rollback(request: Request, name: Name) -> Response:
        """Put the last good version back into Production."""
        said = await asked(request, RollbackRequest)
        return await answer(request, lambda: control.roll_back(said, name))

    return router


def _documented(body: type[_Body]) -> dict[str, Any]:
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "maxLength": 200},
        "description": "The same key with the same request gives the same answer, and has one effect",
    }
    schema = body.model_json_schema()
    return {
        "parameters": [key],
        "requestBody": {"content": {"application/json": {"schema": schema}}},
        "responses": _ANSWERS,
    }
