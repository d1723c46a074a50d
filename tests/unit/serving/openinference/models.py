"""Models of each kind of signature that answer with what they were given, and the application that serves them."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array
from sklearn.linear_model import LinearRegression

from serving.codecs.mlflow_protocol import accepted
from serving.host.compiling import compile_plan
from serving.host.opened import OpenedVersion
from serving.pool import LoadedVersion
from tests.unit.serving.host_here import hosted
from tests.unit.serving.in_process import App, app


class Echo(mlflow.pyfunc.PythonModel):
    """Answers with what it was given."""

    def predict(self, context, model_input, params=None):  # noqa: D102  (a hint would change parsing)
        return model_input


class Sums(mlflow.pyfunc.PythonModel):
    """Adds up each row."""

    def predict(self, context, model_input, params=None):  # noqa: D102  (a hint would change parsing)
        return np.asarray(model_input, dtype=float).sum(axis=1) * (params or {}).get("factor", 1.0)


class Failing(mlflow.pyfunc.PythonModel):
    """Fails whatever it is given."""

    def predict(self, context, model_input, params=None):  # noqa: D102  (a hint would change parsing)
        raise RuntimeError("no prediction of a secret 4711 today")


class Complex(mlflow.pyfunc.PythonModel):
    """Answers with what the protocol has no datatype for."""

    def predict(self, context, model_input, params=None):  # noqa: D102  (a hint would change parsing)
        return np.array([1j] * len(model_input))


def columns(*specs: tuple[str, Any] | tuple[str, Any, bool]) -> Schema:
    """Make a schema of columns."""
    return Schema([ColSpec(spec[1], spec[0], *spec[2:]) for spec in specs])


ALL_TYPES = columns(
    *((kind.name, kind) for kind in DataType),
    ("maybe", DataType.double, False),
    ("list", Array(DataType.long)),
)
NUMBERS = columns(("a", DataType.double), ("b", DataType.double), ("c", DataType.double))
ONE_TENSOR = Schema([TensorSpec(np.dtype("float32"), (-1, 3))])
SIGNATURES: dict[str, tuple[type[mlflow.pyfunc.PythonModel], ModelSignature | None]] = {
    "numbers": (Sums, ModelSignature(NUMBERS, Schema([ColSpec(DataType.double, "total")]))),
    "types": (Echo, ModelSignature(ALL_TYPES)),
    "unnamed": (Echo, ModelSignature(Schema([ColSpec("double"), ColSpec("long")]))),
    "tensor": (Echo, ModelSignature(ONE_TENSOR, ONE_TENSOR)),
    "tensors": (
        Echo,
        ModelSignature(Schema([TensorSpec(np.dtype("int64"), (-1, 2), "x"), TensorSpec(np.dtype("O"), (-1,), "y")])),
    ),
    "scaled": (Sums, ModelSignature(NUMBERS, params=ParamSchema([ParamSpec("factor", "double", 1.0)]))),
    "none": (Echo, None),
    "failing": (Failing, ModelSignature(NUMBERS)),
    "complex": (Complex, ModelSignature(NUMBERS)),
}


def load(directory: Path, name: str, example: bytes | None = None) -> LoadedVersion:
    """Save and load one of the models."""
    kind, signature = SIGNATURES[name]
    path = str(directory / name)
    mlflow.pyfunc.save_model(path, python_model=kind(), signature=signature, pip_requirements=[])
    model = mlflow.pyfunc.load_model(path)
    return hosted(OpenedVersion(name, 1, path, model, model.metadata.get_input_schema(), example=example))


def planned(directory: Path) -> LoadedVersion:
    """Fit, save and load a scikit-learn model that a plan is compiled for."""
    path = str(directory / "planned")
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=list("abc"))
    fitted = LinearRegression().fit(rows, rows.sum(axis=1))
    mlflow.sklearn.save_model(fitted, path, signature=ModelSignature(NUMBERS), pip_requirements=[])
    model = mlflow.pyfunc.load_model(path)
    version = OpenedVersion("planned", 1, path, model, model.metadata.get_input_schema())
    made = compile_plan(model, version.input_schema, partial(accepted, version))
    assert made is not None
    return hosted(replace(version, plan=made.plan), made)


@contextlib.contextmanager
def serving(directory: Path, *names: str, **settings: Any) -> Iterator[App]:
    """Serve some of the models, by default all of them, and the one with a plan."""
    versions = [*(load(directory, name) for name in names or SIGNATURES), planned(directory)]
    with app(directory / "data", *versions, **settings) as running:
        yield running


FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": [10.0, 20.0], "c": [100.0, 200.0]})
