"""Bodies of inference requests and answers: JSON, with the tensors' data in it or as raw bytes behind it.

Reference: the protocol's "Inference" and the binary tensor data extension, where `Inference-Header-Content-Length` says
how long the JSON is. What the tensors mean to a model: `model_input.py`, `model_output.py`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_ext.errors import InvalidInputError
from serving.bounds import DEFAULT, Bounds
from serving.openinference.json_data import from_json, to_json
from serving.openinference.tensors import DTYPES, MAX_RANK, Array, Tensor, from_raw, to_raw

_UNSUPPORTED = {
    "shared_memory_region": "shared memory",
    "classification": "classification by the server",
}


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that a request asks for.

    Attributes:
        name: Of the output tensor.
        binary: Whether its data is wanted as raw bytes.
    """

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request.

    Attributes:
        inputs: Its tensors.
        id: To be echoed, if given.
        outputs: The outputs it asks for; empty asks for all.
        binary: Whether all outputs are wanted as raw bytes.
        parameters: Its parameters.
    """

    inputs: tuple[Tensor, ...]
    id: str | None
    outputs: tuple[RequestedOutput, ...]
    binary: bool
    parameters: Mapping[str, Any]


def read_request(body: bytes, header_length: int | None, bounds: Bounds = DEFAULT) -> InferRequest:
    """Read a request's body.

    Args:
        body: The body.
        header_length: Bytes of JSON at its beginning; `None` where all of it is JSON.
        bounds: How deep the JSON may be.

    Raises:
        InvalidInputError: It is not a request of the protocol, or asks for an extension that there is not.
    """
    if header_length is not None and header_length > len(body):
        raise InvalidInputError(
            f"Inference-Header-Content-Length is {header_length}, but the body has only {len(body)} bytes"
        )
    header = body if header_length is None else body[:header_length]
    bounds.check_json(header)
    document = _object(_json(header), "the request")
    parameters = _object(document.get("parameters", {}), "parameters")
    id_ = document.get("id")
    if id_ is not None and not isinstance(id_, str):
        raise InvalidInputError("id is not a string")
    rest = memoryview(b"" if header_length is None else body)[header_length or 0 :]
    inputs: list[Tensor] = []
    for number, given in enumerate(_list(document.get("inputs"), "inputs")):
        tensor, rest = _input(_object(given, f"inputs[{number}]"), number, rest)
        inputs.append(tensor)
    if not inputs:
        raise InvalidInputError("inputs is empty")
    if len(rest):
        raise InvalidInputError(f"{len(rest)} bytes of binary data belong to no input")
    _distinct([tensor.name for tensor in inputs], "inputs")
    binary = _flag(parameters, "binary_data_output")
    outputs = [
        _output(_object(given, f"outputs[{number}]"), number, binary)
        for number, given in enumerate(_list(document.get("outputs", []), "outputs"))
    ]
    _distinct([output.name for output in outputs], "outputs")
    return InferRequest(tuple(inputs), id_, tuple(outputs), binary, parameters)


def write_answer(
    request: InferRequest, model: str, version: int, outputs: Sequence[Tensor]
) -> tuple[bytes, int | None]:
    """Write an answer; gives its body, and how much of it is JSON when raw bytes follow.

    Raises:
        InvalidInputError: The request asks for an output that there is not.
    """
    by_name = {tensor.name: tensor for tensor in outputs}
    wanted = request.outputs or tuple(RequestedOutput(tensor.name, request.binary) for tensor in outputs)
    for one in wanted:
        if one.name not in by_name:
            raise InvalidInputError(f"there is no output {one.name!r}; the model's outputs are {sorted(by_name)}")
    described: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for one in wanted:
        tensor = by_name[one.name]
        parameters = dict(tensor.parameters)
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if one.binary:
            raw.append(to_raw(tensor.datatype, tensor.data))
            parameters["binary_data_size"] = len(raw[-1])
        else:
            entry["data"], more = to_json(tensor.datatype, tensor.data)
            parameters |= more
        if parameters:
            entry["parameters"] = parameters
        described.append(entry)
    document: dict[str, Any] = {"model_name": model, "model_version": str(version)}
    if request.id is not None:
        document["id"] = request.id
    header = json.dumps({**document, "outputs": described}, allow_nan=False).encode()
    return (b"".join([header, *raw]), len(header)) if any(one.binary for one in wanted) else (header, None)


def _input(given: dict[str, Any], number: int, rest: memoryview) -> tuple[Tensor, memoryview]:
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidInputError(f"inputs[{number}] has no name")
    datatype = given.get("datatype")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise InvalidInputError(f"input {name!r}: datatype is not one of {', '.join(DTYPES)}")
    shape = given.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise InvalidInputError(f"input {name!r}: shape is not a list of sizes")
    if not 1 <= len(shape) <= MAX_RANK:
        raise InvalidInputError(f"input {name!r}: shape has {len(shape)} dimensions; it may have 1 to {MAX_RANK}")
    parameters = _object(given.get("parameters", {}), f"input {name!r}: parameters")
    _refuse_unsupported(parameters, f"input {name!r}")
    try:
        data, rest = _data(given, datatype, shape, parameters, rest)
    except InvalidInputError as exc:
        raise InvalidInputError(f"input {name!r}: {exc}") from exc
    return Tensor(name, datatype, data, parameters), rest


def _data(
    given: dict[str, Any], datatype: str, shape: list[int], parameters: dict[str, Any], rest: memoryview
) -> tuple[Array, memoryview]:
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in given:
            raise InvalidInputError("there is neither data nor the parameter binary_data_size")
        return from_json(datatype, shape, given["data"], parameters), rest
    if "data" in given:
        raise InvalidInputError("there are both data and the parameter binary_data_size")
    if type(size) is not int or size < 0:
        raise InvalidInputError("binary_data_size is not a number of bytes")
    if size > len(rest):
        raise InvalidInputError(
            f"binary_data_size is {size}, but only {len(rest)} bytes of binary data are left in the body "
            "(Inference-Header-Content-Length says where they begin)"
        )
    return from_raw(datatype, shape, rest[:size]), rest[size:]


def _output(given: dict[str, Any], number: int, binary: bool) -> RequestedOutput:
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidInputError(f"outputs[{number}] has no name")
    parameters = _object(given.get("parameters", {}), f"output {name!r}: parameters")
    _refuse_unsupported(parameters, f"output {name!r}")
    return RequestedOutput(name, _flag(parameters, "binary_data", default=binary))


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        # the reason, without the text
        reason = exc.msg if isinstance(exc, json.JSONDecodeError) else type(exc).__name__
        raise InvalidInputError(f"the request is not JSON: {reason}") from exc


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError(f"{what} is not a JSON object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidInputError(f"{what} is not a list")
    return value


def _flag(parameters: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInputError(f"parameter {name} is neither true nor false")
    return value


def _distinct(names: Sequence[str], what: str) -> None:
    if len(set(names)) != len(names):
        raise InvalidInputError(f"{what} name one tensor more than once")


def _refuse_unsupported(parameters: Mapping[str, Any], where: str) -> None:
    for parameter, extension in _UNSUPPORTED.items():
        if parameter in parameters:
            raise InvalidInputError(f"{where}: {extension} (parameter {parameter}) is not supported here")
