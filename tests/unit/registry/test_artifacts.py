"""Judging a model's files: what scikit-learn users log is accepted, what can run code is refused with the way out."""

import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, StandardScaler, TargetEncoder
from sklearn.tree import DecisionTreeClassifier

from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.errors import UnsafeModelError
from mlflow_ext.registry.artifacts import check
from mlflow_ext.registry.trusted_types import TRUSTED_TYPES

WINE = ModelVersion("wine", 3)
_RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(np.abs(_RANDOM.normal(size=(60, 3))), columns=["a", "b", "c"])
FRAME["k"] = pd.Series(_RANDOM.choice(["x", "y"], 60), dtype=object)
NUMBERS = FRAME[["a", "b", "c"]]
TARGET = (FRAME["a"] > 0.7).astype(int)


def columns() -> ColumnTransformer:
    """Make a column transformer with most of the usual parts."""
    return ColumnTransformer(
        [
            ("number", make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include=np.number)),
            ("category", OneHotEncoder(handle_unknown="ignore"), ["k"]),
            ("target", TargetEncoder(), ["k"]),
            ("function", FunctionTransformer(np.log1p), ["b"]),
            ("bins", KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), ["c"]),
        ]
    )


MODELS = {
    "logistic": (LogisticRegression(), NUMBERS),
    "tree": (DecisionTreeClassifier(random_state=0), NUMBERS),
    "forest": (RandomForestClassifier(3, random_state=0), NUMBERS),
    "boosting": (GradientBoostingClassifier(n_estimators=3, random_state=0), NUMBERS),
    "histogram boosting": (HistGradientBoostingClassifier(max_iter=3, random_state=0), NUMBERS),
    "neighbours": (KNeighborsClassifier(), NUMBERS),
    "neighbours of another metric": (KNeighborsClassifier(metric="manhattan", algorithm="ball_tree"), NUMBERS),
    "network": (MLPClassifier(max_iter=3, random_state=0), NUMBERS),
    "calibrated": (CalibratedClassifierCV(LogisticRegression()), NUMBERS),
    "columns": (make_pipeline(columns(), LogisticRegression()), FRAME),
    "columns and forest": (make_pipeline(columns(), RandomForestClassifier(3, random_state=0)), FRAME),
    "selection": (make_pipeline(SelectKBest(k=2), LogisticRegression()), NUMBERS),
    "search": (
        GridSearchCV(RandomForestClassifier(3, random_state=0), {"max_depth": [1, 2]}, scoring="roc_auc"),
        NUMBERS,
    ),
    "stack": (
        StackingClassifier([("a", DecisionTreeClassifier(random_state=0)), ("b", LogisticRegression())]),
        NUMBERS,
    ),
    "vote": (VotingClassifier([("a", DecisionTreeClassifier(random_state=0)), ("b", LogisticRegression())]), NUMBERS),
}


def save(model: Any, path: Path, **how: Any) -> Path:
    """Save a scikit-learn model as MLflow does."""
    import mlflow.sklearn

    how.setdefault("pip_requirements", [])
    mlflow.sklearn.save_model(model, str(path), **how)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a plain model, not to be changed."""
    return save(LogisticRegression().fit(NUMBERS, TARGET), tmp_path_factory.mktemp("models") / "plain")


@pytest.fixture
def model(plain: Path, tmp_path: Path) -> Path:
    """Files of a plain model that the test may break."""
    import shutil

    return Path(shutil.copytree(plain, tmp_path / "model"))


def edit(model: Path, **flavor: Any) -> None:
    """Change the MLmodel's python_function flavor."""
    file = model / "MLmodel"
    document = yaml.safe_load(file.read_text())
    document["flavors"]["python_function"].update(flavor)
    file.write_text(yaml.safe_dump(document))


@pytest.mark.parametrize("name", MODELS)
def test_common_models_are_accepted(name: str, tmp_path: Path) -> None:
    """What people train, logged with TRUSTED_TYPES, may be loaded under `trust: types`."""
    model, rows = MODELS[name]
    with warnings.catch_warnings():
        # three iterations are few
        warnings.filterwarnings("ignore", message=".*(Stochastic Optimizer|converge).*")
        model.fit(rows, TARGET)
    check(save(model, tmp_path / "m", skops_trusted_types=TRUSTED_TYPES), WINE, trust="types")


def test_a_plain_log_model_is_accepted(plain: Path) -> None:
    """A model logged with no argument of ours may be loaded when MLflow itself could log it."""
    check(plain, WINE, trust="types")


@pytest.mark.parametrize("format_", ["cloudpickle", "pickle"])
def test_pickles_are_refused_with_the_way_out(format_: str, tmp_path: Path) -> None:
    """A pickle is refused, and the message names the argument of log_model and the line of policy that change it."""
    model = LogisticRegression().fit(NUMBERS, TARGET)
    path = save(model, tmp_path / "m", serialization_format=format_)
    with pytest.raises(UnsafeModelError) as refused:
        check(path, WINE, trust="types")
    message = str(refused.value)
    assert f"saved as {format_}" in message
    assert "serialization_format='skops'" in message
    assert "TRUSTED_TYPES" in message
    assert "models: {'wine': {serving: {trust: code}}}" in message
    check(path, WINE, trust="code")


def test_types_that_the_artifact_trusts_itself_are_not_enough(tmp_path: Path) -> None:
    """MLflow believes the artifact's own list of trusted types; we compare what the file holds with ours."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(NUMBERS, TARGET)
    pipeline.steps.insert(0, ("evil", FunctionTransformer(os.system)))
    path = save(pipeline, tmp_path / "m", skops_trusted_types=["posix.system"])
    with pytest.raises(UnsafeModelError, match=r"types outside our trusted list: posix\.system"):
        check(path, WINE, trust="types")


def test_a_declared_type_outside_the_list_is_refused(tmp_path: Path) -> None:
    """A declared type counts even when the file does not hold it."""
    model = LogisticRegression().fit(NUMBERS, TARGET)
    path = save(model, tmp_path / "m", skops_trusted_types=["builtins.eval"])
    with pytest.raises(UnsafeModelError, match=r"builtins\.eval"):
        check(path, WINE, trust="types")


def test_a_model_with_code_is_refused(tmp_path: Path) -> None:
    """A model that brings modules of its own is refused."""
    (tmp_path / "own.py").write_text("")
    model = LogisticRegression().fit(NUMBERS, TARGET)
    path = save(model, tmp_path / "m", code_paths=[str(tmp_path / "own.py")])
    with pytest.raises(UnsafeModelError, match="asks for code"):
        check(path, WINE, trust="types")


def test_a_python_model_is_refused(tmp_path: Path) -> None:
    """A custom pyfunc is code, and is refused unless policy trusts it."""
    import mlflow.pyfunc

    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: list[str], params: Any = None) -> list[str]:
            return model_input

    mlflow.pyfunc.save_model(str(tmp_path / "m"), python_model=Echo(), pip_requirements=[])
    with pytest.raises(UnsafeModelError, match=r"loaded by 'mlflow\.pyfunc\.model'"):
        check(tmp_path / "m", WINE, trust="types")
    check(tmp_path / "m", WINE, trust="code")


@pytest.mark.parametrize(
    ("flavor", "reason"),
    [
        ({"loader_module": "os"}, "loaded by 'os'"),
        ({"code": "code"}, "asks for code"),
        ({"data": "elsewhere"}, "asks for data"),
        ({"config": {"a": 1}}, "asks for config"),
        ({"predict_fn": "__init__"}, "predicts with '__init__'"),
        ({"model_path": "../../../etc/passwd"}, "outside the model"),
        ({"model_path": "/etc/passwd"}, "outside the model"),
        ({"model_path": "missing.skops"}, "missing"),
        ({"model_path": None}, "missing"),
        ({"model_path": "requirements.txt"}, "different files"),
    ],
)
def test_a_changed_mlmodel_is_refused(model: Path, flavor: dict[str, Any], reason: str) -> None:
    """Whatever an edited MLmodel asks for beyond a plain skops model is refused, with the reason."""
    edit(model, **flavor)
    with pytest.raises(UnsafeModelError, match=reason):
        check(model, WINE, trust="types")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "flavors: 3", "flavors: {}", "a: &a [*a]", "\x00", "flavors: {python_function: 1}"]
)
def test_a_broken_mlmodel_is_refused(model: Path, text: str) -> None:
    """An MLmodel that describes no model is refused under either trust."""
    (model / "MLmodel").write_text(text)
    for trust in ("types", "code"):
        with pytest.raises(UnsafeModelError):
            check(model, WINE, trust=trust)


def test_links_are_refused(model: Path) -> None:
    """A symbolic link could lead anywhere, and is refused."""
    (model / "more").symlink_to("/etc/passwd")
    with pytest.raises(UnsafeModelError, match="'more' is a link"):
        check(model, WINE, trust="code")


def test_a_missing_mlmodel_is_refused(model: Path) -> None:
    """Files without an MLmodel are no model."""
    (model / "MLmodel").unlink()
    with pytest.raises(UnsafeModelError, match="no MLmodel"):
        check(model, WINE, trust="code")


@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_skops_file_never_escapes_as_another_error(
    plain: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cut or flipped bytes end in acceptance (a damaged number is no danger) or in UnsafeModelError, nothing else."""
    import shutil

    model = Path(shutil.copytree(plain, tmp_path_factory.mktemp("damaged") / "m"))
    file = model / "model.skops"
    content = bytearray(file.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    with suppress(UnsafeModelError):
        check(model, WINE, trust="types")
