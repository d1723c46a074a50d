"""The OpenAPI document of one model version: its routes, and what they take and give by its signature.

The application's own document, of all routes and no model in particular, is FastAPI's (`/openapi.json`).
"""

import json
from typing import Any

from serving.host.opened import OpenedVersion
from serving.json_schemas import answer_schema, params_schema, request_schemas
from serving.model_paths import paths_of
from serving.openinference.signature import described

OPENAPI = "3.1.0"
_ERROR = {
    "type": "object",
    "required": ["error_code", "message", "request_id"],
    "properties": {name: {"type": "string"} for name in ("error_code", "message", "request_id")},
}
_TENSOR_ERROR = {
    "type": "object",
    "required": ["error", "request_id"],
    "properties": {name: {"type": "string"} for name in ("error", "error_code", "request_id")},
}
_REFUSALS = {
    "400": "The input does not fit the model",
    "401": "No token, or not a good one, where the service asks for tokens",
    "403": "The token lacks the right `score`, or is limited to other models",
    "404": "The version is not loaded",
    "413": "The body is too large",
    "503": "Nothing can answer now; Retry-After says when to ask again",
    "504": "The model took too long",
}
_HEADERS = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in {
        "X-Request-Id": "Feedback names it",
        "X-Model-Name": "The model, percent-encoded where it is not ASCII",
        "X-Model-Version": "The version that answered",
    }.items()
}


def describe_api(loaded: OpenedVersion) -> dict[str, Any]:
    """Describe how to ask a version; JSON-ready."""
    paths: dict[str, Any] = {}
    for version, which in ((None, "the version in Production"), (loaded.version, f"version {loaded.version}")):
        suffix = "" if version is None else "_version"
        mlflow, tensors = paths_of(loaded.model, version)
        paths[f"{mlflow}/invocations"] = {
            "post": {
                "operationId": f"score{suffix}",
                "summary": f"Score with {which}, in MLflow's scoring protocol",
                "requestBody": {"required": True, "content": _contents(loaded)},
                "responses": _responses("Predictions", "Error"),
            }
        }
        paths[f"{tensors}/infer"] = {
            "post": {
                "operationId": f"infer{suffix}",
                "summary": f"Infer with {which}, in the Open Inference Protocol",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": _reference("InferRequest")}},
                },
                "responses": _responses("InferAnswer", "TensorError"),
            }
        }
    return {
        "openapi": OPENAPI,
        "info": {
            "title": loaded.model,
            "version": str(loaded.version),
            "description": f"Version {loaded.version} of the registered model {loaded.model!r}, by its signature.",
        },
        "paths": paths,
        "components": {"schemas": _schemas(loaded), "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
    }


def _schemas(loaded: OpenedVersion) -> dict[str, Any]:
    metadata = loaded.predictor.metadata
    params = params_schema(metadata.get_params_schema())
    forms = [
        {"type": "object", "required": [key], "properties": {key: schema, **({"params": params} if params else {})}}
        for key, schema in request_schemas(loaded.input_schema).items()
    ]
    outputs = described(metadata.get_output_schema(), "output")
    return {
        "Request": {"anyOf": forms},
        "Predictions": {
            "type": "object",
            "required": ["predictions"],
            "properties": {"predictions": answer_schema(metadata.get_output_schema())},
        },
        "Error": _ERROR,
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": {"type": "string"},
                "parameters": params or {"type": "object"},
                "inputs": {"type": "array", "minItems": 1, "items": _reference("Tensor")},
                "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
            },
            "description": f"Inputs: {_told(described(loaded.input_schema, 'input'))}",
        },
        "InferAnswer": {
            "type": "object",
            "required": ["model_name", "model_version", "outputs"],
            "properties": {
                **{name: {"type": "string"} for name in ("model_name", "model_version", "id")},
                "outputs": {"type": "array", "items": _reference("Tensor")},
            },
            "description": f"Outputs: {_told(outputs)}",
        },
        "Tensor": {
            "type": "object",
            "required": ["name", "datatype", "shape"],
            "properties": {
                "name": {"type": "string"},
                "datatype": {"type": "string"},
                "shape": {"type": "array", "items": {"type": "integer"}},
                "data": {"type": "array"},
                "parameters": {"type": "object"},
            },
        },
        "TensorError": _TENSOR_ERROR,
    }


def _contents(loaded: OpenedVersion) -> dict[str, Any]:
    example = _example(loaded.example)
    return {
        "application/json": {"schema": _reference("Request"), **({"example": example} if example is not None else {})},
        "text/csv": {"schema": {"type": "string"}},
        "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
    }


def _example(body: bytes | None) -> Any:
    if body is None:
        return None
    # a version answers its example before it serves; one whose JSON this is not leaves the document without
    try:
        return json.loads(body)
    except ValueError:
        return None


def _responses(answer: str, error: str) -> dict[str, Any]:
    refusals = {
        status: {"description": text, "content": {"application/json": {"schema": _reference(error)}}}
        for status, text in _REFUSALS.items()
    }
    content = {"application/json": {"schema": _reference(answer)}}
    return {"200": {"description": "The answer", "headers": _HEADERS, "content": content}, **refusals}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _told(tensors: list[Any]) -> str:
    told = [f"`{one.name}` {one.datatype} {list(one.shape)}" for one in tensors]
    return ", ".join(told) or "the signature does not say"
