"""JSON Schema of what a model's MLflow signature takes and gives in MLflow's scoring protocol.

The document around it is made in `model_api.py`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mlflow.types import ColSpec, DataType, ParamSchema, Schema, TensorSpec
from mlflow.types.schema import Array, Map, Object

JsonSchema = dict[str, Any]

_COLUMNS: dict[DataType, JsonSchema] = {
    DataType.boolean: {"type": "boolean"},
    DataType.integer: {"type": "integer", "format": "int32"},
    DataType.long: {"type": "integer", "format": "int64"},
    # MLflow reads null as a missing number
    DataType.float: {"type": ["number", "null"], "format": "float"},
    DataType.double: {"type": ["number", "null"], "format": "double"},
    DataType.string: {"type": "string"},
    DataType.binary: {"type": "string", "contentEncoding": "base64"},
    DataType.datetime: {"type": "string", "description": "date and time, ISO 8601"},
}
_DTYPES = {"b": {"type": "boolean"}, "i": {"type": "integer"}, "u": {"type": "integer"}, "f": {"type": "number"}}


def request_schemas(schema: Schema | None) -> dict[str, JsonSchema]:
    """Give, by the key of a request's body, what it may hold; anything without a signature."""
    specs: Sequence[ColSpec | TensorSpec] = [] if schema is None else list(schema.inputs)
    tensors = [spec for spec in specs if isinstance(spec, TensorSpec)]
    if tensors:
        return _tensor_requests(tensors)
    columns = [spec for spec in specs if isinstance(spec, ColSpec)]
    if not columns:
        anything = {"description": "This model has no signature: it takes whatever its code takes."}
        return dict.fromkeys(("dataframe_split", "dataframe_records", "inputs", "instances"), anything)
    values = [value_schema(spec) for spec in columns]
    rows: JsonSchema = {"type": "array", "items": {"anyOf": _distinct(values)}}
    split: JsonSchema = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array"},
            "index": {"type": "array"},
            "data": {"type": "array", "items": rows},
        },
    }
    if columns[0].name is None:
        rows |= {"minItems": len(columns), "maxItems": len(columns)}
        # all in one array have one type
        matrix = {"inputs": {"type": "array", "items": rows}} if len({spec.type for spec in columns}) == 1 else {}
        return {"dataframe_split": split, **matrix}
    split["properties"]["columns"]["items"] = {"type": "string"}
    split["description"] = f"Columns in any order: {', '.join(str(spec.name) for spec in columns)}"
    records: JsonSchema = {
        "type": "array",
        "items": {
            "type": "object",
            "required": [spec.name for spec in columns if spec.required],
            "properties": {str(spec.name): value for spec, value in zip(columns, values, strict=True)},
        },
    }
    by_column: JsonSchema = {
        "type": "object",
        "required": records["items"]["required"],
        "properties": {
            str(spec.name): {"type": "array", "items": value} for spec, value in zip(columns, values, strict=True)
        },
    }
    return {"dataframe_split": split, "dataframe_records": records, "inputs": by_column}


def answer_schema(schema: Schema | None) -> JsonSchema:
    """Give what `predictions` holds, as far as the signature says."""
    specs: Sequence[ColSpec | TensorSpec] = [] if schema is None else list(schema.inputs)
    if not specs:
        return {"description": "This model's signature says nothing about its predictions."}
    schemas = [tensor_schema(spec) if isinstance(spec, TensorSpec) else value_schema(spec) for spec in specs]
    named = {str(spec.name): one for spec, one in zip(specs, schemas, strict=True) if spec.name is not None}
    if isinstance(specs[0], TensorSpec):
        return {"type": "object", "properties": named} if named else schemas[0]
    # MLflow writes a data frame as records, an array as lists, and does not say which of them a model gives
    plain = schemas[0] if len(schemas) == 1 else {"type": "array", "items": {"anyOf": _distinct(schemas)}}
    items = {"anyOf": [plain, {"type": "object", "properties": named}]} if named else plain
    return {"type": "array", "items": items}


def params_schema(params: ParamSchema | None) -> JsonSchema | None:
    """Give what `params` holds; `None` where the model has none."""
    if params is None or not params.params:
        return None
    properties = {}
    for spec in params.params:
        one = type_schema(spec.dtype)
        if spec.shape is not None:
            one = {"type": "array", "items": one}
        properties[spec.name] = one | ({"default": spec.default} if _is_json(spec.default) else {})
    return {"type": "object", "properties": properties}


def value_schema(spec: ColSpec) -> JsonSchema:
    """Give what one value of a column is."""
    value = type_schema(spec.type)
    return value if spec.required or not value else {"anyOf": [value, {"type": "null"}]}


def tensor_schema(spec: TensorSpec) -> JsonSchema:
    """Give nested lists of a tensor's shape."""
    schema: JsonSchema = dict(_DTYPES.get(spec.type.kind, {"type": "string"} if spec.type.kind in "US" else {}))
    for size in reversed(spec.shape):
        bounds = {} if size == -1 else {"minItems": size, "maxItems": size}
        schema = {"type": "array", "items": schema, **bounds}
    return schema


def type_schema(kind: Any) -> JsonSchema:
    """Give what a value of an MLflow type is; anything for a type that says nothing."""
    if isinstance(kind, DataType):
        return dict(_COLUMNS[kind])
    if isinstance(kind, Array):
        return {"type": "array", "items": type_schema(kind.dtype)}
    if isinstance(kind, Map):
        return {"type": "object", "additionalProperties": type_schema(kind.value_type)}
    if isinstance(kind, Object):
        return {
            "type": "object",
            "required": [one.name for one in kind.properties if one.required],
            "properties": {one.name: type_schema(one.dtype) for one in kind.properties},
        }
    return {}


def _tensor_requests(specs: Sequence[TensorSpec]) -> dict[str, JsonSchema]:
    if specs[0].name is None:
        whole = tensor_schema(specs[0])
        return {"inputs": whole, "instances": whole}
    names = [str(spec.name) for spec in specs]
    wholes = [tensor_schema(spec) for spec in specs]
    items = [schema.get("items", schema) for schema in wholes]
    return {
        "inputs": {"type": "object", "required": names, "properties": dict(zip(names, wholes, strict=True))},
        "instances": {
            "type": "array",
            "items": {"type": "object", "required": names, "properties": dict(zip(names, items, strict=True))},
        },
    }


def _distinct(schemas: Sequence[JsonSchema]) -> list[JsonSchema]:
    found: list[JsonSchema] = []
    for schema in schemas:
        if schema not in found:
            found.append(schema)
    return found


def _is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_json(one) for one in value)
    return isinstance(value, str | bool | int) or (isinstance(value, float) and bool(np.isfinite(value)))
