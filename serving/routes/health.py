"""Is it alive, is it ready, which version, what does it count. MLflow's own three answer as MLflow's server does."""

from importlib.metadata import version as version_of

from fastapi import APIRouter, Request, Response

from serving.codecs.answer import error
from serving.metrics import CONTENT_TYPE
from serving.parts import Parts
from serving.web import id_of, response


def routes(parts: Parts) -> APIRouter:
    """Make the routes."""
    router = APIRouter(tags=["health"])
    # without importing it, which takes 150 MB
    mlflow_version = version_of("mlflow")

    @router.get("/ping")
    @router.get("/health")
    async def ping() -> Response:
        """MLflow's health check: 200 while the process answers."""
        return Response("\n", media_type="application/json")

    @router.get("/version")
    async def version() -> Response:
        """Version of MLflow."""
        return Response(mlflow_version, media_type="application/json")

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        """200 while the process answers."""
        return {"status": "alive"}

    @router.get("/readyz")
    async def readyz(request: Request) -> Response:
        """200 once every Production version that can be loaded is loaded; 503 before, and while stopping.

        `prediction_log` says whether answers are being logged; 200 even if not, since they are being given.
        """
        if parts.stopping.is_set():
            return response(error(503, "TEMPORARILY_UNAVAILABLE", "The service is stopping."), id_of(request))
        if not parts.is_ready():
            waiting = error(503, "TEMPORARILY_UNAVAILABLE", "The registry is being read and its models are loading.")
            return response(waiting, id_of(request))
        log = "losing" if parts.log.losing else "ok"
        return Response(f'{{"status":"ready","prediction_log":"{log}"}}', media_type="application/json")

    @router.get("/metrics")
    def metrics() -> Response:
        """Prometheus metrics of all scoring processes of this service."""
        parts.log.measure()
        parts.pending.measure()
        return Response(parts.metrics.render(), media_type=CONTENT_TYPE)

    return router
