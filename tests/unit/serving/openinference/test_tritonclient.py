"""The protocol as tritonclient speaks it: its own client, against the application on a real web server."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.unit.serving.in_process import App
from tests.unit.serving.openinference.models import FRAME, serving

BINARY = [True, False]


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The application with a model of each signature."""
    with serving(tmp_path_factory.mktemp("triton")) as running:
        yield running


@pytest.fixture
def client(scoring: App) -> Iterator[triton.InferenceServerClient]:
    """The client of the application."""
    with triton.InferenceServerClient(str(scoring.client.base_url).removeprefix("http://").rstrip("/")) as client:
        yield client


def tensor(name: str, data: Any, *, binary: bool = True) -> triton.InferInput:
    """Make an input."""
    made = triton.InferInput(name, list(data.shape), np_to_triton_dtype(data.dtype))
    made.set_data_from_numpy(data, binary_data=binary)
    return made


def frame(*, binary: bool = True) -> list[triton.InferInput]:
    """Make one input a column."""
    return [tensor(name, FRAME[name].to_numpy(), binary=binary) for name in FRAME]


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    """Server and models are live and ready, and say what they take and give."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("numbers")
    assert client.is_model_ready("numbers", "1")
    assert not client.is_model_ready("numbers", "2")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["name"] == "mlflow-ext"
    metadata = client.get_model_metadata("numbers")
    assert (metadata["versions"], metadata["platform"]) == (["1"], "mlflow_pyfunc")
    assert metadata["inputs"] == [{"name": name, "datatype": "FP64", "shape": [-1]} for name in "abc"]
    assert metadata["outputs"] == [{"name": "total", "datatype": "FP64", "shape": [-1]}]
    assert client.get_model_metadata("tensor", "1")["inputs"] == [
        {"name": "input-0", "datatype": "FP32", "shape": [-1, 3]}
    ]
    index = client.get_model_repository_index()
    assert {"name": "numbers", "version": "1", "state": "READY", "reason": ""} in index


@pytest.mark.parametrize("version", ["", "1"])
@pytest.mark.parametrize("sent", BINARY)
@pytest.mark.parametrize("asked", [None, *BINARY])
def test_columns(client: triton.InferenceServerClient, version: str, sent: bool, asked: bool | None) -> None:
    """One tensor a column, binary or JSON on either way; the output has the signature's name, the id comes back."""
    outputs = None if asked is None else [triton.InferRequestedOutput("total", binary_data=asked)]
    result = client.infer("numbers", frame(binary=sent), version, outputs, request_id="my-1")
    assert result.as_numpy("total").tolist() == [111.0, 222.0]
    answer = result.get_response()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("numbers", "1", "my-1")
    assert ("data" in answer["outputs"][0]) == (asked is False)


@pytest.mark.parametrize("request_encoding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("answer_encoding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", BINARY)
def test_compression(
    client: triton.InferenceServerClient, request_encoding: str | None, answer_encoding: str | None, binary: bool
) -> None:
    """Requests and answers may be compressed, whatever form their data has."""
    data = np.arange(3000, dtype=np.float32).reshape(1000, 3)
    result = client.infer(
        "tensor",
        [tensor("anything", data, binary=binary)],
        outputs=[triton.InferRequestedOutput("output-0", binary_data=binary)],
        request_compression_algorithm=request_encoding,
        response_compression_algorithm=answer_encoding,
    )
    assert np.array_equal(result.as_numpy("output-0"), data)


def test_one_tensor_for_all_columns(client: triton.InferenceServerClient) -> None:
    """Columns of one numeric type may come as one tensor, of a type that loses nothing."""
    for data in (FRAME.to_numpy(), FRAME.to_numpy(np.float32), FRAME.to_numpy(np.int32)):
        assert client.infer("numbers", [tensor("input-0", data)]).as_numpy("total").tolist() == [111.0, 222.0]


def test_columns_of_all_types(client: triton.InferenceServerClient) -> None:
    """Every column type of MLflow has its tensor, and comes back as it was."""
    texts = np.array(["é日", ""], dtype=object)
    given = {
        "boolean": np.array([[True], [False]]),
        "integer": np.array([1, -1], np.int32),
        "long": np.array([2**40, -1], np.int64),
        "float": np.array([1.5, np.nan], np.float32),
        "double": np.array([0.1, np.inf]),
        "string": texts,
        "binary": np.array([b"\xff\x00", b""], dtype=object),
        "datetime": np.array([b"2026-01-02T03:04:05", b"2026-01-02T03:04:05+02:00"], dtype=object),
        "list": np.array([b"[1, 2]", b"[]"], dtype=object),
    }
    result = client.infer("types", [tensor(name, data) for name, data in given.items()])
    for name in ("boolean", "integer", "long", "float", "double"):
        back = result.as_numpy(name)
        assert back.dtype == given[name].dtype
        assert np.array_equal(back, given[name].ravel(), equal_nan=back.dtype.kind == "f")
    assert [text.decode() for text in result.as_numpy("string")] == list(texts)
    assert result.as_numpy("binary").tolist() == [b"\xff\x00", b""]
    assert result.as_numpy("datetime").tolist() == [b"2026-01-02T03:04:05.000000000", b"2026-01-02T01:04:05.000000000"]
    assert result.as_numpy("list").tolist() == [b"[1, 2]", b"[]"]


def test_named_tensors(client: triton.InferenceServerClient) -> None:
    """Tensors of a signature keep their names, text among them."""
    x, y = np.array([[1, 2], [3, 4]]), np.array(["a", "é"], dtype=object)
    result = client.infer("tensors", [tensor("y", y), tensor("x", x)])
    assert np.array_equal(result.as_numpy("x"), x)
    assert [text.decode() for text in result.as_numpy("y")] == list(y)


def test_columns_without_names(client: triton.InferenceServerClient) -> None:
    """Columns without names go by their position."""
    inputs = [tensor("input-0", np.array([0.5])), tensor("input-1", np.array([7]))]
    result = client.infer("unnamed", inputs)
    assert (result.as_numpy("output-0").tolist(), result.as_numpy("output-1").tolist()) == ([0.5], [7])


def test_without_a_signature(client: triton.InferenceServerClient) -> None:
    """A model without a signature gets one tensor as an array, and several columns as a data frame."""
    assert client.infer("none", [tensor("x", np.array([[1, 2]]))]).as_numpy("output-0").tolist() == [[1, 2]]
    result = client.infer("none", [tensor("a", np.array([1, 2])), tensor("b", np.array([[0.5], [1.5]]))])
    assert (result.as_numpy("a").tolist(), result.as_numpy("b").tolist()) == ([1, 2], [0.5, 1.5])
    result = client.infer("none", [tensor("a", np.array([[1, 2]])), tensor("b", np.array([0.5]))])
    assert result.as_numpy("a").tolist() == [[1, 2]]


def test_params(client: triton.InferenceServerClient) -> None:
    """A request's parameters that the model knows as params reach it; the protocol's own do not."""
    result = client.infer("scaled", frame(), parameters={"factor": 2.0, "mine": 1}, timeout=100)
    assert result.as_numpy("output-0").tolist() == [222.0, 444.0]
    with pytest.raises(InferenceServerException):
        client.infer("scaled", frame(), parameters={"factor": "twice"})


@pytest.mark.parametrize(
    ("model", "inputs", "says"),
    [
        ("nobody", frame(), "no registered model"),
        ("numbers", frame()[:2], "input 'c' is missing"),
        ("numbers", [*frame(), tensor("d", np.array([1.0, 2.0]))], "input 'd' is unknown"),
        ("numbers", [*frame()[:2], tensor("c", np.array([1.0]))], "differ in their number of rows"),
        ("numbers", [*frame()[:2], tensor("c", np.ones((2, 2)))], "has shape [2, 2]"),
        ("numbers", [*frame()[:2], tensor("c", np.array(["1", "2"], object))], "is BYTES; the model takes FP64"),
        ("numbers", [*frame()[:2], tensor("c", np.array([1, 2]))], "is INT64; the model takes FP64"),
        ("numbers", [*frame()[:2], tensor("c", np.array([True, False]))], "is BOOL; the model takes FP64"),
        ("numbers", [tensor("all", np.ones((2, 4)))], "send shape [rows, 3]"),
        ("tensor", [tensor("x", np.ones((2, 4), np.float32))], "the model takes [-1, 3]"),
        ("tensor", [tensor("x", np.ones((2, 3)))], "is FP64; the model takes FP32"),
        ("tensor", [tensor("x", np.ones((2, 3), np.float32)), tensor("y", np.ones(2))], "takes one input"),
        ("tensors", [tensor("x", np.ones((2, 2), np.int64))], "input 'y' is missing"),
        ("failing", frame(), "The model failed on this input"),
    ],
)
def test_refusals(client: triton.InferenceServerClient, model: str, inputs: list[Any], says: str) -> None:
    """Whatever does not fit is refused with a reason that the client reads."""
    with pytest.raises(InferenceServerException) as refused:
        client.infer(model, inputs)
    assert says in refused.value.message()
    assert refused.value.status() == ("404" if model == "nobody" else "400")
    assert "4711" not in refused.value.message()
