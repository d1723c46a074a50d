"""ONNX twins in service: the same labels as MLflow's scoring server, and the same numbers but for their rounding."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import mlflow.pyfunc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_ext.registry.twins.making import make_twin
from serving.codecs import mlflow_protocol
from serving.host import compiling
from serving.host.compiling import compile_plan
from serving.host.onnx_engine import OfferedTwin
from serving.host.opened import OpenedVersion
from serving.plan import Plan
from serving.pool import LoadedVersion
from tests.integration.serving.bodies import bodies
from tests.integration.serving.fitted import Fitted
from tests.integration.serving.pair import JSON, Pair, both
from tests.integration.serving.twin_models import save, twin_models, with_kernels
from tests.unit.serving.host_here import hosted

MODELS: dict[str, Fitted] = {name.replace(" ", "-"): one for name, one in (*twin_models(), *with_kernels())}
TOLERANCE = 1e-9


def load(name: str, path: str) -> LoadedVersion:
    """Load a model's files as the service does where policy wants a twin."""
    model = mlflow.pyfunc.load_model(path)
    schema = model.metadata.get_input_schema()
    opened = OpenedVersion(name, 1, path, model, schema)
    twin = OfferedTwin(lambda: make_twin(model, TOLERANCE).content, TOLERANCE, wanted=True)
    made = compile_plan(model, schema, partial(mlflow_protocol.accepted, opened), twin=twin)
    return hosted(replace(opened, plan=made.plan if made else None), made, twin_refused=twin.refused)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers with all models."""
    directory: Path = tmp_path_factory.mktemp("twins")
    paths = {name: str(save(one, directory / name)) for name, one in MODELS.items()}
    with pytest.MonkeyPatch.context() as patched:
        # a slow machine would find none of them cheap
        patched.setattr(compiling, "INLINE_S", 60.0)
        with both(paths, directory / "data", load, TOLERANCE) as made:
            yield made


def plan_of(pair: Pair, model: str) -> Plan:
    """Give a model's plan."""
    champion = pair.ours.pool.serving(model)
    assert champion is not None
    assert champion.loaded.plan is not None
    return champion.loaded.plan


@pytest.mark.parametrize("model", MODELS)
def test_engines(pair: Pair, model: str) -> None:
    """Each kind of model is converted, agrees with the original, and is answered by its twin; the service says so."""
    said = pair.ours.client.get(f"/models/{model}").json()["loaded"][0]
    assert (said["twin_refused"], said["engine"]) == (None, "onnx")
    assert plan_of(pair, model).inline


@pytest.mark.parametrize("model", MODELS)
def test_the_rows_that_a_model_was_fitted_on(pair: Pair, model: str) -> None:
    """A twin takes them in either form, few or many, and answers as MLflow does."""
    for count in (1, 2, 300):
        for form in ("split", "records"):
            frame = MODELS[model].frame.head(count)
            table = frame.to_dict(orient=form, **({"index": False} if form == "split" else {}))
            body = json.dumps({f"dataframe_{form}": table}).encode()
            rows = plan_of(pair, model).rows(body)
            assert rows is not None
            assert plan_of(pair, model).predict(rows) is not None
            assert pair.compare(model, body) == 200


_cases = st.sampled_from(sorted(MODELS)).flatmap(
    lambda model: st.tuples(st.just(model), bodies(MODELS[model].signature))
)


@given(case=_cases)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_bodies(pair: Pair, case: tuple[str, bytes]) -> None:
    """Bodies that are nearly right, or right, are answered as MLflow answers them."""
    pair.compare(*case)


@pytest.mark.slow
@given(case=_cases)
@settings(max_examples=6_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_thousands_of_generated_bodies(pair: Pair, case: tuple[str, bytes]) -> None:
    """The same, 6,000 times."""
    pair.compare(*case)


@pytest.mark.parametrize(
    ("model", "row", "status"),
    [
        # an encoder that refuses unknown categories
        ("columns-tree", ["red", "elsewhere", 1.0], 400),
        # ONNX Runtime would read "red"
        ("columns-boosting", [1.0, 2.0, 3, True, "red\0", "north"], 200),
        # trees of scikit-learn refuse what single precision does not hold; those of histograms do not
        ("boosting-two", [1e39, 0.0], 400),
        ("histograms-two", [1e39, 0.0], 200),
        # no floating-point number is this one
        ("histograms-value", [1.0, 9007199254740993, 2.0, False], 200),
    ],
)
def test_values_that_are_not_for_twins(pair: Pair, model: str, row: list[object], status: int) -> None:
    """What the original refuses, or ONNX would read otherwise, goes to MLflow's code."""
    names = [spec.name for spec in MODELS[model].signature.inputs]
    body = json.dumps({"dataframe_split": {"columns": names, "data": [row]}}).encode()
    rows = plan_of(pair, model).rows(body)
    assert rows is not None
    assert plan_of(pair, model).predict(rows) is None
    assert pair.compare(model, body, JSON) == status
