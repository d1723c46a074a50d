"""The routes `/mlflow-ext/` (page) and `/mlflow-ext/api/models` (JSON). What they show is read in `reading.py`."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Engine

from mlflow_ext.dashboard.reading import Picture, read
from mlflow_ext.errors import MlflowExtError

Open = Callable[[], Engine]
"""Gives the engine; raises `MlflowExtError` when there is no database to look at."""

# nothing but this page's own style: no script, no image or font from anywhere, no frame of anybody
_SAFETY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def routes(open_engine: Open) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix="/mlflow-ext")

    @router.get("")
    def without_slash() -> Response:
        # relative, so that it holds behind any prefix and proxy
        return RedirectResponse("mlflow-ext/")

    @router.get("/", response_class=HTMLResponse)
    def page(model: str | None = None) -> Response:
        picture = _look(open_engine, model)
        text = _templates().get_template("models.html").render(picture=picture, chosen=model)
        return HTMLResponse(text, headers=_SAFETY)

    @router.get("/api/models")
    def models(model: str | None = None) -> Response:
        return JSONResponse(_look(open_engine, model).as_dict(), headers={"Cache-Control": "no-store"})

    return router


def _look(open_engine: Open, model: str | None) -> Picture:
    try:
        return read(open_engine(), model)
    except MlflowExtError as exc:
        return Picture(at=datetime.now(UTC), problems=(str(exc),))


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"segment": _segment, "time": _time, "ago": _ago, "number": _number}
    return environment


def _segment(text: str) -> str:
    """Quote for one part of an address in MLflow's UI."""
    return quote(str(text), safe="")


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _ago(moment: datetime, now: datetime) -> str:
    passed = max(now - moment, timedelta())
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if passed.total_seconds() >= seconds:
            return f"{passed.total_seconds() // seconds:.0f} {unit} ago"
    return "just now"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
