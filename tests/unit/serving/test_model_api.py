"""The OpenAPI document of a model version: valid, true to what the service accepts and answers, and linked."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.unit.serving.in_process import App, app, loaded
from tests.unit.serving.openinference.models import SIGNATURES, load

ROW = {
    "boolean": True,
    "integer": 1,
    "long": 2**40,
    "float": None,
    "double": 0.5,
    "string": "é",
    "binary": "YQ==",
    "datetime": "2026-01-02T03:04:05",
    "maybe": None,
    "list": [1, 2],
}
BODIES: list[tuple[str, Any]] = [
    ("numbers", {"dataframe_split": {"columns": ["c", "b", "a"], "data": [[1, 2.5, None]]}}),
    ("numbers", {"dataframe_records": [{"a": 1, "b": 2, "c": 3}]}),
    ("numbers", {"inputs": {"a": [1.0], "b": [2.0], "c": [3.0]}}),
    ("types", {"dataframe_records": [ROW]}),
    ("types", {"dataframe_records": [{key: value for key, value in ROW.items() if key != "maybe"}]}),
    ("types", {"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())]}}),
    ("unnamed", {"dataframe_split": {"columns": [0, 1], "data": [[1.0, 2]]}}),
    ("tensor", {"inputs": [[1.0, 2.0, 3.0]]}),
    ("tensor", {"instances": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}),
    ("tensors", {"inputs": {"x": [[1, 2]], "y": ["a"]}}),
    ("tensors", {"instances": [{"x": [1, 2], "y": "a"}]}),
    ("scaled", {"dataframe_records": [{"a": 1, "b": 2, "c": 3}], "params": {"factor": 2.0}}),
    ("none", {"inputs": [1, 2]}),
]
REFUSED: list[tuple[str, Any]] = [
    ("numbers", {}),
    ("numbers", {"dataframe_split": {"data": [[1, 2, 3]]}}),
    ("numbers", {"dataframe_records": [{"a": 1}]}),
    ("numbers", {"dataframe_records": [{"a": 1, "b": 2, "c": "three"}]}),
    ("types", {"dataframe_records": [{**ROW, "integer": "one"}]}),
    ("tensor", {"inputs": [[1.0, 2.0]]}),
    ("tensors", {"inputs": {"x": [[1, 2]]}}),
    ("scaled", {"dataframe_records": [{"a": 1, "b": 2, "c": 3}], "params": {"factor": "twice"}}),
]


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The application with a model of each signature, each with an input example where we have one."""
    directory = tmp_path_factory.mktemp("api")
    examples = {name: json.dumps(body).encode() for name, body in reversed(BODIES)}
    versions = [load(directory, name, examples.get(name)) for name in SIGNATURES]
    with app(directory / "data", *versions) as running:
        yield running


def document_of(scoring: App, model: str) -> dict[str, Any]:
    """Give a model's OpenAPI document."""
    found: dict[str, Any] = scoring.client.get(f"/models/{model}/openapi.json").json()
    return found


def validator(document: dict[str, Any], schema: str) -> Draft202012Validator:
    """Validate against a schema of a document."""
    resource = Resource(document, DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("urn:api", resource)
    return Draft202012Validator({"$ref": f"urn:api#/components/schemas/{schema}"}, registry=registry)


@pytest.mark.parametrize("model", sorted(SIGNATURES))
def test_is_openapi(scoring: App, model: str) -> None:
    """Each signature's document is valid OpenAPI, and shows the input example where there is one."""
    document = document_of(scoring, model)
    OpenAPIV31SpecValidator(document).validate()
    assert document["info"]["version"] == "1"
    assert set(document["paths"]) == {
        *(f"/models/{model}/invocations", f"/models/{model}/versions/1/invocations"),
        *(f"/v2/models/{model}/infer", f"/v2/models/{model}/versions/1/infer"),
    }
    content = document["paths"][f"/models/{model}/invocations"]["post"]["requestBody"]["content"]["application/json"]
    assert content.get("example") == next((body for name, body in BODIES if name == model), None)
    assert scoring.client.get(f"/models/{model}/versions/1/openapi.json").json() == document


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_what_it_allows_is_answered(scoring: App, number: int) -> None:
    """A body that the document allows is answered, and the answer is as the document says."""
    model, body = BODIES[number]
    document = document_of(scoring, model)
    validator(document, "Request").validate(body)
    answer = scoring.client.post(f"/models/{model}/invocations", json=body)
    assert answer.status_code == 200, answer.text
    validator(document, "Predictions").validate(json.loads(answer.text.replace("NaN", "null")))


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_the_service_refuses_it_forbids(scoring: App, number: int) -> None:
    """A body of another shape is neither allowed by the document nor answered; the error is as the document says."""
    model, body = REFUSED[number]
    document = document_of(scoring, model)
    assert not validator(document, "Request").is_valid(body)
    answer = scoring.client.post(f"/models/{model}/invocations", json=body)
    assert answer.status_code == 400
    validator(document, "Error").validate(answer.json())


def test_the_open_inference_side(scoring: App) -> None:
    """Requests, answers and errors of the other protocol are as the document says."""
    document = document_of(scoring, "numbers")
    inputs = [{"name": name, "datatype": "FP64", "shape": [1], "data": [1.0]} for name in "abc"]
    for body, status, schema in (({"inputs": inputs}, 200, "InferAnswer"), ({"inputs": []}, 400, "TensorError")):
        assert validator(document, "InferRequest").is_valid(body) == (status == 200)
        answer = scoring.client.post("/v2/models/numbers/infer", json=body)
        assert answer.status_code == status
        validator(document, schema).validate(answer.json())


def test_is_linked_and_shown(scoring: App) -> None:
    """A model's account links its document and a page of it, whatever the model is called."""
    links = scoring.client.get("/models/numbers").json()["links"]
    assert scoring.client.get(links["openapi"]).json()["info"]["title"] == "numbers"
    page = scoring.client.get(links["docs"])
    assert links["openapi"] in page.text
    assert "/static-offline-docs/swagger-ui-bundle.js" in page.text
    assert "cdn." not in page.text


def test_odd_names(scoring: App, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A name can break neither the document nor the page."""
    name = "<script>'x'{y}<script> é"
    with app(tmp_path_factory.mktemp("odd"), loaded(name, 3)) as running:
        links = running.client.get("/models/" + "%3Cscript%3E%27x%27%7By%7D%3Cscript%3E%20%C3%A9").json()["links"]
        document = running.client.get(links["openapi"]).json()
        OpenAPIV31SpecValidator(document).validate()
        assert document["info"]["title"] == name
        page = running.client.get(links["docs"]).text
        assert name not in page
        assert "'x'" not in page


def test_the_page_does_not_tell_whether_there_is_such_a_model(scoring: App) -> None:
    """It is open to all, so it is the same for a model that is served and for one that is not, but for the name."""
    known, unknown = (scoring.client.get(f"/models/{name}/docs") for name in ("numbers", "nobody"))
    assert (known.status_code, unknown.status_code) == (200, 200)
    assert known.text.replace("numbers", "nobody") == unknown.text


@pytest.mark.parametrize("path", ["/models/nobody/openapi.json", "/models/none/versions/2/openapi.json"])
def test_of_nothing(scoring: App, path: str) -> None:
    """What is not served has no document."""
    answer = scoring.client.get(path)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
