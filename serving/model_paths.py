"""Where a model is found in both protocols. What its routes take: `model_api.py`."""

from urllib.parse import quote


def paths_of(model: str, version: int | None = None) -> tuple[str, str]:
    """Give where a model, or one version of it, is found under MLflow's protocol and under the Open Inference Protocol.

    Percent-encoded, so that a name cannot be taken for anything else.
    """
    own = f"/models/{quote(model, safe='')}" + ("" if version is None else f"/versions/{version}")
    return own, f"/v2{own}"
