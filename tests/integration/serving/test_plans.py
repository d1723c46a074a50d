"""Compiled plans: the same answers as MLflow's scoring server, for bodies of every kind, alone and in batches."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlflow.sklearn
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_ext.registry.trusted_types import TRUSTED_TYPES
from serving.plan import Plan
from serving.pool import LoadedVersion
from tests.integration.serving.bodies import bodies
from tests.integration.serving.fitted import Fitted, fitted
from tests.integration.serving.pair import JSON, Pair, both

MODELS: dict[str, Fitted] = {name.replace(" ", "-"): one for name, one in fitted()}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers with all models."""
    directory = tmp_path_factory.mktemp("plans")
    for name, one in MODELS.items():
        mlflow.sklearn.save_model(
            one.model,
            str(directory / name),
            signature=one.signature,
            pyfunc_predict_fn=one.predict,
            skops_trusted_types=TRUSTED_TYPES,
            pip_requirements=[],
        )
    with both({name: str(directory / name) for name in MODELS}, directory / "data") as made:
        yield made


def loaded(pair: Pair, model: str) -> LoadedVersion:
    """Give what answers for a model."""
    champion = pair.ours.pool.serving(model)
    assert champion is not None
    return champion.loaded


def plan_of(pair: Pair, model: str) -> Plan:
    """Give a model's plan."""
    plan = loaded(pair, model).plan
    assert plan is not None
    return plan


@pytest.mark.parametrize("model", MODELS)
def test_engines(pair: Pair, model: str) -> None:
    """Each kind of model is answered by the engine that is meant for it."""
    plan = loaded(pair, model).plan
    assert (plan.engine if plan else None) == MODELS[model].engine


@pytest.mark.parametrize("model", [name for name, one in MODELS.items() if one.engine])
@pytest.mark.parametrize("form", ["split", "records"])
@pytest.mark.parametrize("count", [1, 2, 300])
def test_the_rows_that_a_model_was_fitted_on(pair: Pair, model: str, form: str, count: int) -> None:
    """A plan takes them, and answers as MLflow does."""
    frame = MODELS[model].frame.head(count)
    table = frame.to_dict(orient=form, **({"index": False} if form == "split" else {}))
    body = json.dumps({f"dataframe_{form}": table}).encode()
    assert plan_of(pair, model).rows(body) is not None
    assert pair.compare(model, body) == 200


_cases = st.sampled_from(sorted(MODELS)).flatmap(
    lambda model: st.tuples(st.just(model), bodies(MODELS[model].signature))
)


def agree(pair: Pair, case: tuple[str, bytes]) -> None:
    """Compare both servers' answers to one body."""
    pair.compare(*case)


@given(case=_cases)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_bodies(pair: Pair, case: tuple[str, bytes]) -> None:
    """Bodies that are nearly right, or right, are answered as MLflow answers them."""
    agree(pair, case)


@pytest.mark.slow
@given(case=_cases)
@settings(max_examples=6_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_thousands_of_generated_bodies(pair: Pair, case: tuple[str, bytes]) -> None:
    """The same, 6,000 times over 19 signatures."""
    agree(pair, case)


def test_the_plans_answer_most_generated_bodies_that_are_right(pair: Pair) -> None:
    """What the comparison compares is the plans' work, not MLflow's with itself."""
    by_plan: list[bool] = []

    @given(case=_cases)
    @settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def count(case: tuple[str, bytes]) -> None:
        model, body = case
        plan = loaded(pair, model).plan
        if plan is not None:
            by_plan.append(plan.rows(body) is not None)

    count()
    assert sum(by_plan) > len(by_plan) / 4
    assert sum(by_plan) < len(by_plan)


@pytest.mark.parametrize("model", ["logistic", "three-words", "forest", "columns", "line", "boosting"])
def test_requests_at_the_same_time(pair: Pair, model: str) -> None:
    """Requests that are computed together each get their own rows' answer, and each is logged once with it."""
    one = MODELS[model]
    names = [spec.name for spec in one.signature.inputs]
    pieces = [one.frame.iloc[begin : begin + 1 + begin % 3] for begin in range(240)]
    expected = [np.asarray(one.model.predict(piece)).tolist() for piece in pieces]
    rows = [piece.astype(object).to_numpy().tolist() for piece in pieces]
    wanted = [json.dumps({"dataframe_split": {"columns": names, "data": some}}).encode() for some in rows]
    before = len(pair.ours.records())

    def ask(body: bytes) -> Any:
        answer = pair.ours.client.post(f"/models/{model}/invocations", content=body, headers={"Content-Type": JSON})
        return answer.json()["predictions"], answer.headers["x-request-id"]

    with ThreadPoolExecutor(24) as clients:
        answers = list(clients.map(ask, wanted))
    assert [predictions for predictions, _ in answers] == expected
    logged = {record.request_id: record for record in pair.ours.records()[before:]}
    assert len(logged) == len(wanted)
    for (predictions, id_), body in zip(answers, wanted, strict=True):
        assert logged[id_].request == body
        assert json.loads(logged[id_].response)["predictions"] == predictions


def test_engines_cover_batches(pair: Pair) -> None:
    """A model whose batches would round otherwise is asked request by request; the others are batched."""
    batched = {model: plan_of(pair, model).batches for model, one in MODELS.items() if one.engine}
    assert batched["forest"]
    assert batched["boosting"]
    assert sum(batched.values()) >= len(batched) - 5


def test_a_missing_value_goes_to_mlflow(pair: Pair) -> None:
    """What a plan does not know is MLflow's to answer, through the same address."""
    body = b'{"dataframe_split": {"columns": ["a", "b"], "data": [[null, 1.0]]}}'
    assert plan_of(pair, "boosted-value").rows(body) is None
    assert pair.compare("boosted-value", body) == 400


@pytest.mark.parametrize("value", [3e38, 1e39, -1e39])
def test_values_that_trees_refuse(pair: Pair, value: float) -> None:
    """Numbers that single precision does not hold are refused as MLflow refuses them; smaller ones are answered."""
    table = MODELS["forest"].frame.head(1).to_dict(orient="split", index=False)
    table["data"][0][0] = value
    body = json.dumps({"dataframe_split": table}).encode()
    assert pair.compare("forest", body) == (200 if abs(value) < 3.4e38 else 400)


def test_answers_say_who_gave_them(pair: Pair) -> None:
    """An answer by the short way has the headers of every answer, and a client's own request id."""
    body = b'{"dataframe_split": {"columns": ["a", "b"], "data": [[0.5, 1.0]]}}'
    headers = {"Content-Type": JSON, "X-Request-Id": "mine-1"}
    answer = pair.ours.client.post("/models/ridge/invocations", content=body, headers=headers)
    slow = pair.ours.client.post("/models/ridge/invocations", content=body, headers={**headers, "Expect": ""})
    kept = {"x-request-id", "x-model-name", "x-model-version", "content-type"}
    assert {key: answer.headers[key] for key in kept} == {key: slow.headers[key] for key in kept}
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.content == slow.content


def test_paths_of_models(pair: Pair) -> None:
    """Only a served model's own address takes the short way; near misses are answered as the application does."""
    body = b'{"dataframe_split": {"columns": ["a", "b"], "data": [[0.5, 1.0]]}}'
    for path, status in (
        ("/models/nothing/invocations", 404),
        ("/models//invocations", 404),
        ("/models/ridge/versions/1/invocations", 200),
        ("/models/ridge/versions/7/invocations", 404),
        ("/models/ridge/invocations/", 404),
        ("/invocations", 404),
    ):
        answer = pair.ours.client.post(path, content=body, headers={"Content-Type": JSON})
        assert answer.status_code == status, (path, answer.text)
