"""The Open Inference Protocol and the OpenAPI document of a model that was trained, logged, registered and promoted."""

import httpx
import numpy as np
import tritonclient.http as triton
from mlflow import MlflowClient
from mlflow.models import infer_signature
from openapi_spec_validator import OpenAPIV31SpecValidator
from sklearn.linear_model import LinearRegression

from drift.rows import typed_rows
from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.registry.scoring_protocol import model_columns
from tests.integration.registered import ROWS, register
from tests.integration.serving.service import Service


def test_a_trained_model(serving: Service, mlflow_url: str, registry: MlflowRegistry) -> None:
    """Tritonclient gets the same predictions as MLflow's protocol gives, and drift reads both as the same rows."""
    name = "tensors wanted"
    fitted = LinearRegression().fit(ROWS, [1.0, 2.0, 4.0])
    register(mlflow_url, name, fitted, signature=infer_signature(ROWS, fitted.predict(ROWS)))
    registry.set_stage(name, 1, Stage.PRODUCTION)
    serving.wait_served(name, 1)
    before = len(serving.records())
    theirs = serving.score(name, {"dataframe_split": ROWS.to_dict("split")}).json()["predictions"]
    with triton.InferenceServerClient(serving.url.removeprefix("http://")) as client:
        metadata = client.get_model_metadata(name)
        assert [one["name"] for one in metadata["inputs"]] == ["a", "b"]
        assert metadata["platform"] == "mlflow_sklearn"
        inputs = [triton.InferInput(column, [len(ROWS)], "FP64") for column in ROWS]
        for tensor in inputs:
            tensor.set_data_from_numpy(ROWS[tensor.name()].to_numpy())
        result = client.infer(name, inputs)
    output = metadata["outputs"][0]["name"] if metadata["outputs"] else "output-0"
    assert np.array_equal(result.as_numpy(output), theirs)
    records = serving.records()[before:]
    columns = model_columns(MlflowClient(tracking_uri=mlflow_url, registry_uri=mlflow_url), name, 1)
    (plain, plain_refused), (tensors, tensors_refused) = (typed_rows([record], columns) for record in records)
    assert plain_refused == tensors_refused == []
    shown = ["a", "b", "prediction", "row"]
    assert plain[0].select(shown).equals(tensors[0].select(shown))


def test_the_openapi_document_shows_the_input_example(
    serving: Service, mlflow_url: str, registry: MlflowRegistry
) -> None:
    """The document of a served version holds the example that was logged with it, and the example is answered."""
    name = "documented"
    register(mlflow_url, name)
    registry.set_stage(name, 1, Stage.PRODUCTION)
    serving.wait_served(name, 1)
    link = serving.model(name)["links"]["openapi"]
    document = httpx.get(serving.url + link, timeout=10).json()
    OpenAPIV31SpecValidator(document).validate()
    [path] = [path for path in document["paths"] if path == f"/models/{name}/invocations"]
    example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert len(example["dataframe_split"]["data"]) == len(ROWS)
    assert httpx.post(serving.url + path, json=example, timeout=10).status_code == 200
