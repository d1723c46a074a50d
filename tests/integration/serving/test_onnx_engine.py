"""Which twin answers: one that agrees and is faster, where policy lets it; every other is refused with its reason."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import onnx
import pytest
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from mlflow_ext.domain.twins import TwinRefusedError
from mlflow_ext.registry.plain_table import original, plain_columns
from mlflow_ext.registry.trial_rows import trial_rows
from mlflow_ext.registry.twins.apart import make_apart
from mlflow_ext.registry.twins.making import make_twin
from serving.codecs import mlflow_protocol
from serving.host.compiling import compile_plan
from serving.host.onnx_engine import OfferedTwin
from serving.host.opened import OpenedVersion
from serving.plan import Plan
from tests.integration.serving.fitted import Fitted, signature, table
from tests.integration.serving.twin_models import save, saved

FRAME = table()[["a", "b"]]
VALUE = FRAME.a * 3 + FRAME.b / 50
YES = (VALUE > 1).astype(int)
Finds = Callable[[], bytes]


def boosted(target: Any, **how: Any) -> Fitted:
    """Fit a model without a kernel, a classifier or a regressor after its target."""
    kind = GradientBoostingRegressor if target.dtype.kind == "f" else GradientBoostingClassifier
    return Fitted(kind(n_estimators=8, random_state=0, **how).fit(FRAME, target), FRAME, signature(FRAME), None)


@pytest.fixture(scope="module")
def label(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A classifier, as MLflow loads it."""
    return saved(boosted(YES), tmp_path_factory.mktemp("label") / "model")


@pytest.fixture(scope="module")
def number(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A regressor, as MLflow loads it."""
    return saved(boosted(VALUE), tmp_path_factory.mktemp("number") / "model")


def planned(model: Any, find: Finds | None, *, kernels: bool = True, **how: Any) -> tuple[Plan, str | None]:
    """Compile a plan as the loader does; gives it, and why the twin was refused."""
    schema = model.metadata.get_input_schema()
    opened = OpenedVersion("m", 1, None, model, schema)
    twin = OfferedTwin(find, **{"tolerance": 1e-9, **how}) if find else None
    made = compile_plan(model, schema, partial(mlflow_protocol.accepted, opened), kernels=kernels, twin=twin)
    assert made is not None
    return made.plan, twin.refused if twin else None


def test_a_twin_of_another_model_is_refused(label: Any, tmp_path: Path) -> None:
    """One that gives other labels never answers; the original does, and the reason says how many differ."""
    other = saved(boosted((VALUE > 2).astype(int)), tmp_path / "other")
    plan, refused = planned(label, lambda: make_twin(other, 1e-9).content)
    assert plan.engine == "python"
    assert refused is not None
    assert "labels differ" in refused


def test_a_twin_with_one_changed_leaf_is_refused(label: Any, number: Any) -> None:
    """A twin in whose graph somebody changed one number disagrees somewhere among thousands of rows."""
    for model, reason in ((label, "labels differ"), (number, "answers differ")):
        graph = onnx.load_from_string(make_twin(model, 1e-9).content)
        trees = next(node for node in graph.graph.node if node.op_type == "TreeEnsemble")
        weights = next(one for one in trees.attribute if one.name == "leaf_weights")
        values = onnx.numpy_helper.to_array(weights.t).copy()
        values[0] = 100.0 if reason == "labels differ" else values[0] + 1e-6
        weights.t.CopyFrom(onnx.numpy_helper.from_array(values))
        plan, refused = planned(model, graph.SerializeToString)
        assert (plan.engine, reason in str(refused)) == ("python", True)


def test_tolerance(number: Any) -> None:
    """By how much a regressor's answers may differ is policy's to say."""
    graph = onnx.load_from_string(make_twin(number, 1e-9).content)
    base = next(one for one in graph.graph.initializer if one.data_type == onnx.TensorProto.DOUBLE)
    moved = onnx.numpy_helper.to_array(base) + 1e-6
    base.CopyFrom(onnx.numpy_helper.from_array(moved, base.name))
    find = graph.SerializeToString
    assert planned(number, find)[0].engine == "python"
    assert planned(number, find, tolerance=1e-5)[0].engine == "onnx"


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x09" * 9], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_graph_is_refused(label: Any, content: bytes) -> None:
    """Whatever the runtime makes of it, the original answers."""
    plan, refused = planned(label, lambda: content)
    assert plan.engine == "python"
    assert str(refused).startswith("it cannot be run")


def test_a_twin_that_is_not_faster_is_refused_unless_it_is_asked_for(label: Any) -> None:
    """With `auto` it has to be worth its memory."""
    content = make_twin(label, 1e-9).content
    model, columns = label._model_impl.sklearn_model, plain_columns(label.metadata.get_input_schema())
    assert columns is not None
    rows = trial_rows(model, columns)
    known = dict(zip(rows, original(model, columns)(rows).tolist(), strict=True))

    def quick(some: Any) -> Any:
        return np.array([known[row] for row in some])

    auto, wanted = OfferedTwin(lambda: content, 1e-9), OfferedTwin(lambda: content, 1e-9, wanted=True)
    assert auto.compiled(model, columns, rows, quick) is None
    assert str(auto.refused).startswith("it is not faster")
    assert wanted.compiled(model, columns, rows, quick) is not None


def test_policy(label: Any, tmp_path: Path) -> None:
    """`auto`: a kernel, or else a twin; `python`: neither; `onnx`: a twin, or else as `auto`."""
    line = Fitted(LogisticRegression().fit(FRAME, YES), FRAME, signature(FRAME), "kernel")
    linear = saved(line, tmp_path / "linear")
    asked: list[str] = []

    def find(model: Any) -> bytes:
        asked.append("twin")
        return make_twin(model, 1e-9).content

    def refuse() -> bytes:
        raise TwinRefusedError("there is none")

    assert planned(linear, partial(find, linear))[0].engine == "kernel"
    assert asked == []
    assert planned(label, partial(find, label))[0].engine == "onnx"
    assert planned(linear, None, kernels=False)[0].engine == "python"
    assert planned(linear, partial(find, linear), wanted=True)[0].engine == "onnx"
    assert planned(linear, refuse, wanted=True)[0].engine == "kernel"
    assert planned(label, refuse, wanted=True)[1] == "there is none"


def test_made_apart(tmp_path: Path) -> None:
    """A twin that another process makes is the same; this process imports nothing for it."""
    files = save(boosted(YES), tmp_path / "model")
    program = (
        "import sys; from pathlib import Path; from mlflow_ext.registry.twins.apart import make_apart\n"
        f"content = make_apart(Path({str(files)!r}), 1e-9)\n"
        "assert not {'skl2onnx', 'onnx', 'onnxruntime'} & set(sys.modules)\n"
        f"Path({str(tmp_path / 'twin.onnx')!r}).write_bytes(content)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    model = mlflow.pyfunc.load_model(str(files))
    plan, refused = planned(model, (tmp_path / "twin.onnx").read_bytes)
    assert (plan.engine, refused) == ("onnx", None)


def test_made_apart_in_vain(tmp_path: Path) -> None:
    """A model that is not there, and a process that takes too long: each is a reason."""
    neighbours = Fitted(KNeighborsClassifier().fit(FRAME, YES), FRAME, signature(FRAME), None)
    began = time.monotonic()
    with pytest.raises(TwinRefusedError, match="longer than"):
        make_apart(save(neighbours, tmp_path / "model"), 1e-9, timeout_s=0.1)
    assert time.monotonic() - began < 10
    with pytest.raises(TwinRefusedError, match="ended with code 1"):
        make_apart(tmp_path / "nothing", 1e-9)


def test_no_twin_of_what_no_plan_knows(tmp_path: Path) -> None:
    """Models that are not answered by a plan have no twin either, and say so."""
    probabilities = saved(replace(boosted(YES), predict="predict_proba"), tmp_path / "model")
    with pytest.raises(TwinRefusedError, match="only predict"):
        make_twin(probabilities, 1e-9)
