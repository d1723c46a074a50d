"""What a model's MLflow signature says, in the protocol's words: name, datatype and shape of each tensor.

How tensors become a model's input is in `model_input.py`.
"""

from dataclasses import dataclass
from typing import Any

from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from serving.openinference.tensors import BYTES, datatype_of_dtype

COLUMN_DATATYPES = {
    DataType.boolean: "BOOL",
    DataType.integer: "INT32",
    DataType.long: "INT64",
    DataType.float: "FP32",
    DataType.double: "FP64",
    DataType.string: BYTES,
    DataType.binary: BYTES,
    DataType.datetime: BYTES,
}
"""Datatype of a column of each type; columns of lists, objects and maps are BYTES, each element JSON text."""
NUMERIC = frozenset({"INT32", "INT64", "FP32", "FP64"})


@dataclass(frozen=True, slots=True)
class TensorDescription:
    """A tensor as model metadata shows it.

    Attributes:
        name: Its name.
        datatype: Its datatype.
        shape: Its shape; -1 stands for any size.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give it as it stands in model metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


def described(schema: Schema | None, unnamed: str) -> list[TensorDescription]:
    """Describe the tensors of a schema; empty without one.

    Args:
        schema: MLflow's schema of inputs or outputs.
        unnamed: `input` or `output`: those without a name are called `input-0`, `input-1` …
    """
    specs: list[ColSpec | TensorSpec] = [] if schema is None else list(schema.inputs)
    return [
        TensorDescription(
            spec.name if spec.name is not None else f"{unnamed}-{number}",
            datatype_of(spec),
            (-1,) if isinstance(spec, ColSpec) else tuple(spec.shape),
        )
        for number, spec in enumerate(specs)
    ]


def datatype_of(spec: ColSpec | TensorSpec) -> str:
    """Give the datatype of a column or tensor of a signature."""
    if isinstance(spec, TensorSpec):
        return datatype_of_dtype(spec.type)
    return COLUMN_DATATYPES.get(spec.type, BYTES) if isinstance(spec.type, DataType) else BYTES


def interface_of(metadata: Any, input_schema: Schema | None) -> dict[str, Any]:
    """Give what model metadata tells of a version beside its names: platform, inputs and outputs.

    Args:
        metadata: MLflow's metadata of the model.
        input_schema: Its input schema, if any.
    """
    flavors = [name for name in getattr(metadata, "flavors", {}) if name != "python_function"]
    return {
        "platform": f"mlflow_{flavors[0] if flavors else 'pyfunc'}",
        "inputs": [one.to_dict() for one in described(input_schema, "input")],
        "outputs": [one.to_dict() for one in described(metadata.get_output_schema(), "output")],
    }
