"""Who calls MLflow's server, as the audit trail names them. What is done with it: `registry_store.py`."""

from urllib.parse import unquote

from mlflow_ext.domain.actors import Actor, Source, acting
from mlflow_ext.registry.agreement import ACTOR_HEADER

_LONGEST = 200


def caller() -> Actor:
    """Name the caller of the present request, or whoever runs this process where there is no request.

    The name of a user that MLflow has authenticated stands alone. Any other name is a claim: its source is before it.
    """
    from flask import has_request_context, request

    if not has_request_context():
        return acting()
    claimed = Actor.parse(unquote(request.headers.get(ACTOR_HEADER, ""))[:_LONGEST])
    way = Source.UI if "/ajax-api/" in request.path else Source.API
    user = _authenticated()
    if user:
        return Actor(user, claimed.source if claimed else way)
    return claimed or Actor(f"anonymous@{request.remote_addr}", way)


def _authenticated() -> str | None:
    """Name the user whom MLflow's authentication has let in; `None` where it is off."""
    from flask import current_app, request

    checks = current_app.before_request_funcs.get(None, ())
    if not any(getattr(check, "__module__", "") == "mlflow.server.auth" for check in checks):
        return None
    if request.authorization and request.authorization.username:
        return request.authorization.username
    # an authorisation function of the deployment's own knows its users by other means
    from mlflow.server.auth import authenticate_request

    return getattr(authenticate_request(), "username", None)
