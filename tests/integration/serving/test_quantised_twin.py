"""A quantised twin in service: where its promotion's gate let it, and by no other way; else the unquantised answers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlflow_ext.domain.twins import JudgedTwin, TwinFacts, TwinRefusedError
from mlflow_ext.errors import UnavailableError
from mlflow_ext.registry.twins.making import Twin, make_twin
from mlflow_ext.registry.twins.quantising import Quantised, quantise_twin
from serving.codecs import mlflow_protocol
from serving.compiled_plans import pack, unpack
from serving.host import compiling
from serving.host.compiling import compile_plan
from serving.host.onnx_engine import OfferedTwin
from serving.host.opened import OpenedVersion
from serving.host.quantised_twin import OfferedQuantisedTwin
from serving.host.twins import FOLDER, Twins
from serving.plan import Plan, plan_of
from tests.integration.serving.fitted import Fitted, signature
from tests.integration.serving.twin_models import saved

ROWS, DIGIT = load_digits(return_X_y=True, as_frame=True)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A network that reads digits, as MLflow loads it."""
    model = make_pipeline(StandardScaler(), MLPClassifier((128, 64), max_iter=30, random_state=0, tol=1e-2))
    fitted = Fitted(model.fit(ROWS[::2], DIGIT[::2]), ROWS, signature(ROWS), "onnx")
    return saved(fitted, tmp_path_factory.mktemp("network") / "model")


@pytest.fixture(scope="module")
def twin(network: Any) -> Twin:
    """Its twin."""
    return make_twin(network, 1e-9)


@pytest.fixture(scope="module")
def small(network: Any, twin: Twin) -> Quantised:
    """Its quantised twin, which passed."""
    return quantise_twin(network, twin.content, ROWS.assign(target=DIGIT)[1::2], "target", 0.02)


def planned(model: Any, find: Callable[[], bytes], small: Callable[[], bytes]) -> tuple[Plan, str | None]:
    """Compile a plan as the loader does; gives it, and what was refused."""
    schema = model.metadata.get_input_schema()
    offered = OfferedTwin(find, 1e-9, quantised=OfferedQuantisedTwin(small))
    made = compile_plan(
        model, schema, partial(mlflow_protocol.accepted, OpenedVersion("m", 1, None, model, schema)), twin=offered
    )
    assert made is not None
    # as it arrives in a scoring process
    compiled = unpack(*pack(made.compiled))
    return (made.plan if compiled.compute is None else plan_of(compiled, compiled.compute)), offered.refused


def labels(plan: Plan, rows: pd.DataFrame) -> list[Any]:
    """Ask a plan for rows, as a request does."""
    read = plan.rows(msgspec.json.encode({"dataframe_split": rows.to_dict(orient="split", index=False)}))
    assert read is not None
    found = plan.predict(read)
    assert found is not None
    return list(found)


def test_it_answers(network: Any, twin: Twin, small: Quantised, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its labels are those that were judged, and requests for it are computed together."""
    # a slow machine would not find it cheap
    monkeypatch.setattr(compiling, "INLINE_S", 60.0)
    plan, refused = planned(network, lambda: twin.content, lambda: small.content)
    assert (plan.engine, plan.batches, plan.inline, refused) == ("onnx-int8", True, True, None)
    mine = ROWS[1::2]
    differing = (labels(plan, mine) != network.predict(mine)).mean()
    assert differing <= 2 * small.facts.changed + 0.01


@pytest.mark.parametrize(("bound_s", "inline"), [(60.0, True), (0.0, False)])
def test_what_it_costs_decides_where_it_is_computed(
    network: Any, twin: Twin, small: Quantised, monkeypatch: pytest.MonkeyPatch, bound_s: float, inline: bool
) -> None:
    """Below the bound on the event loop, above it on a thread."""
    monkeypatch.setattr(compiling, "INLINE_S", bound_s)
    plan, _ = planned(network, lambda: twin.content, lambda: small.content)
    assert plan.inline is inline


def test_otherwise_the_unquantised_twin_answers(network: Any, twin: Twin, small: Quantised) -> None:
    """A file that is refused, missing, broken or of another model leaves the unquantised twin, with the reason."""

    def refuse() -> bytes:
        raise TwinRefusedError("accuracy falls")

    for find, reason in (
        (refuse, "quantised: accuracy falls"),
        (lambda: b"no graph", "quantised: it cannot be run"),
        (lambda: small.content[:-100], "quantised: it cannot be run"),
    ):
        plan, refused = planned(network, lambda: twin.content, find)
        assert (plan.engine, str(refused).startswith(reason)) == ("onnx", True)


def test_kernels_go_first(tmp_path: Path) -> None:
    """Where a kernel computes the model's own answers, nothing quantised is asked for."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)).fit(ROWS, DIGIT)
    asked: list[str] = []

    def find() -> bytes:
        asked.append("quantised")
        raise TwinRefusedError

    linear = saved(Fitted(model, ROWS, signature(ROWS), "kernel"), tmp_path / "model")
    assert planned(linear, find, find)[0].engine == "kernel"
    assert asked == []


def test_only_a_promotion_lets_one_answer(small: Quantised, tmp_path: Path) -> None:
    """Files that no promotion pinned, promotions that made none or refused it, a stricter policy since: none."""
    judged = JudgedTwin(
        TwinFacts("0" * 64, 1, "double", 1, 0.0), 1e-9, run_id="0" * 32, artifact="twin/model.onnx",
        quantised=small.facts, quantised_artifact="twin/model.int8.onnx",
    )  # fmt: skip

    def find(found: JudgedTwin | None, bound: float = 0.02, *, pinned: bool = True) -> bytes:
        return Twins(MlflowClient(), tmp_path, lambda *_: found).find_quantised("m", 1, bound, pinned=pinned)

    copy = tmp_path / FOLDER / f"{small.facts.sha256}.onnx"
    copy.parent.mkdir()
    copy.write_bytes(small.content)
    assert find(judged) == small.content
    worse = replace(small.facts, quantised=dict.fromkeys(small.facts.quantised, 0.5))
    for found, pinned, reason in (
        (judged, False, "no promotion has judged it"),
        (None, True, "no promotion has judged it"),
        (replace(judged, quantised=None), True, "promote it anew"),
        (replace(judged, quantised=None, quantised_refused="nothing to quantise"), True, "nothing to quantise"),
        (replace(judged, quantised=worse), True, "falls from"),
    ):
        with pytest.raises(TwinRefusedError, match=reason):
            find(found, pinned=pinned)

    def away(*_: Any) -> JudgedTwin:
        raise UnavailableError("PostgreSQL does not answer")

    with pytest.raises(TwinRefusedError, match="PostgreSQL"):
        Twins(MlflowClient(), tmp_path, away).find_quantised("m", 1, 0.02, pinned=True)
