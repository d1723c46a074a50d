"""The scoring application: routes, errors and request ids put together. What they work with: `parts.py`."""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from mlflow_ext.version import VERSION
from serving.access import Access
from serving.openapi import describe_rights
from serving.parts import Parts
from serving.routes import health, models, openinference, promotions, scoring
from serving.web import Admitted, RequestIds, handle_errors

DESCRIPTION = """REST scoring of the models registered in MLflow, each with the version that is in Production.

Requests and answers are MLflow's scoring protocol, or under `/v2` the Open Inference Protocol. Answers carry
`X-Request-Id`, `X-Model-Name` and `X-Model-Version`; errors are JSON with `error_code`, `message` and
`request_id`, under `/v2` with `error` for the message. What one model takes and gives: `/models/NAME/docs`."""


def create_app(parts: Parts) -> FastAPI:
    """Make the application."""
    app = FastAPIOffline(title="mlflow-ext promotion service", version=VERSION, description=DESCRIPTION, redoc_url=None)
    for subject in (scoring, openinference, models, promotions, health):
        app.include_router(subject.routes(parts))
    handle_errors(app)
    describe_rights(app)
    # the last added is the first passed: who may not ask takes nobody's place
    app.add_middleware(Admitted, admission=parts.admission)
    app.add_middleware(
        Access, authority=parts.authority, default_model=parts.settings.default_model, metrics=parts.metrics
    )
    app.add_middleware(RequestIds)
    return app
