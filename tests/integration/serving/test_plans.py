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
from mlflow.types import DataType

from mlflow_ext.registry.trusted_types import TRUSTED_TYPES
from serving.plan import Plan
from serving.pool import LoadedVersion
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


# texts of numbers, right and wrong, near the borders of what parsers and types hold
_NUMBERS = [
    *("0", "-0", "0.0", "-0.0", "1", "-1", "1.0", "1.5", "1e0", "1E+2", "1e-2", "0.1", "100000", "-273.15", "2e5"),
    *("2147483647", "2147483648", "-2147483649", "9007199254740993", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551616", "-9223372036854775809", "1" + "0" * 30, "123456789012345678901234567890.5"),
    *("1e308", "1e309", "-1e400", "1e-320", "1e-400", "5e-324", "2.4703282292062328e-324", "1.7976931348623159e308"),
    *("0.1000000000000000055511151231257827021181583404541015625", "3.4028235e38", "1e39", "33.333333333333336"),
]
_OTHERS = ["null", "true", "false", "NaN", "Infinity", "-Infinity", '"1.0"', '"nan"', '""', '"red"', "[1]", "[]", "{}"]
_BROKEN = ["01", "+1", "1.", ".5", "1e", "0x1", "--1", "", "'a'", "1_000", "nul"]
_TEXTS = [
    '"red"',
    '"gr\\u00fcn"',
    '"grün"',
    '"q\\"uote"',
    '""',
    '"north"',
    '"south"',
    '"blue"',
    '"\\ud83c\\udf77"',
    '"\\ud83c"',
]


def _good(kind: DataType) -> st.SearchStrategy[str]:
    if kind is DataType.string:
        return st.sampled_from(_TEXTS[:7])
    if kind is DataType.boolean:
        return st.sampled_from(["true", "false"])
    if kind in (DataType.long, DataType.integer):
        return st.integers(-1_000, 1_000).map(str)
    floats = st.floats(allow_nan=False, allow_infinity=False, width=64).map(json.dumps)
    # as a training table has them: a point or an exponent in each
    return st.floats(-1_000, 1_000).map(json.dumps) | floats


_any_token = st.one_of(
    st.sampled_from(_NUMBERS),
    st.sampled_from(_OTHERS),
    st.sampled_from(_TEXTS),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)


@st.composite
def bodies(draw: st.DrawFn, model: str) -> bytes:
    """Make a body that is nearly, or wholly, what a model takes."""
    columns = [(one.name or "a", one.type) for one in MODELS[model].signature.inputs]
    names = [json.dumps(name) for name, _ in columns]
    wrong = draw(st.sampled_from(["nothing", "nothing", "values", "values", "columns", "rows", "document", "syntax"]))
    rows = [[draw(_good(kind)) for _, kind in columns] for _ in range(draw(st.integers(1, 4)))]
    if wrong == "values":
        for _ in range(draw(st.integers(1, 3))):
            row = rows[draw(st.integers(0, len(rows) - 1))]
            row[draw(st.integers(0, len(row) - 1))] = draw(_any_token)
    if wrong == "syntax":
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from(_BROKEN))
    if wrong == "rows":
        row = draw(st.sampled_from(rows))
        draw(st.sampled_from([row.pop, lambda: row.append("1.0"), rows.clear, lambda: rows.append([])]))()
    # long bodies are read in another way
    rows *= draw(st.sampled_from([1, 1, 60]))
    if wrong == "columns":
        change = draw(st.sampled_from(["reverse", "drop", "add", "double", "rename", "number"]))
        if change == "reverse":
            names, rows = names[::-1], [row[::-1] for row in rows]
        elif change == "drop":
            names, rows = names[1:], [row[1:] for row in rows]
        elif change == "add":
            names, rows = [*names, '"more"'], [[*row, "1"] for row in rows]
        elif change == "double":
            names, rows = [*names, names[0]], [[*row, row[0]] for row in rows]
        else:
            names = [draw(st.sampled_from(['"A"', '" a"', '"a\\u0000"'])) if change == "rename" else "0", *names[1:]]
    space = draw(st.sampled_from(["", "", " ", "\n\t"]))
    if draw(st.booleans()):
        data = f",{space}".join(f"[{f',{space}'.join(row)}]" for row in rows)
        table = f'{{"columns":{space}[{",".join(names)}],{space}"data": [{data}]{space}}}'
        if wrong == "document":
            more = draw(st.sampled_from(['"index": [0]', '"data": []', '"columns": []', '"x": 1']))
            table = f"{table[:-1]}, {more}}}" if draw(st.booleans()) else f"{{{more}, {table[1:]}"
        body = f'{space}{{"dataframe_split":{space}{table}}}'
    else:
        data = ",".join(
            "{" + ",".join(f"{name}:{cell}" for name, cell in zip(names, row, strict=False)) + "}" for row in rows
        )
        body = f'{{"dataframe_records":{space}[{data}]{space}}}'
    if wrong == "document":
        key = draw(st.sampled_from(["params", "x", "dataframe_split", "inputs", "dataframe_records"]))
        value = draw(st.sampled_from(["null", "{}", "[]", "1"]))
        body = draw(
            st.sampled_from(
                [
                    f'{body[:-1]}, "{key}": {value}}}',
                    f'{{"{key}": {value}, {body.strip()[1:]}',
                    f"{body} x",
                    f"{body}{body}",
                    f"[{body}]",
                    body[:-1],
                    f"\ufeff{body}",
                ]
            )
        )
    return body.encode("utf-8", draw(st.sampled_from(["strict", "surrogatepass"])))


_cases = st.sampled_from(sorted(MODELS)).flatmap(lambda model: st.tuples(st.just(model), bodies(model)))


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
