"""Reading a compiled plan that a model host has sent: a pickle of our own kernels and NumPy's arrays, and nothing else.

A host runs a model's code; what comes from it must not run code here. Arrays are kept out of the pickle: a forest's are
tens of megabytes, and while they are copied, nothing else of a scoring process runs.
"""

import io
import pickle
from collections.abc import Sequence
from typing import Any

from mlflow_ext.errors import MlflowExtError
from serving.plan import CompiledPlan

_KERNELS = "serving.kernels"
_KNOWN = {
    ("serving.plan", "CompiledPlan"),
    ("serving.twin_kernel", "_arrived"),
    (_KERNELS, "CompiledKernel"),
    *((f"{_KERNELS}.linear", name) for name in ("LinearValue", "LinearSide", "LinearLargest")),
    *((f"{_KERNELS}.forest", name) for name in ("ForestValue", "ForestLabel", "Nodes")),
    *((f"{_KERNELS}.table", name) for name in ("Scaled", "Numbers", "Ordinal", "OneHot", "PlainTable", "MixedTable")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("builtins", "frozenset"),
    ("copyreg", "_reconstructor"),
    ("builtins", "object"),
}


class UnreadablePlanError(MlflowExtError):
    """The model host sent something that is no plan."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a plan")
        return super().find_class(module, name)


def pack(plan: CompiledPlan) -> tuple[bytes, list[memoryview]]:
    """Write a plan; gives a pickle, and the arrays that it goes with."""
    arrays: list[pickle.PickleBuffer] = []
    content = pickle.dumps(plan, protocol=5, buffer_callback=arrays.append)
    return content, [array.raw() for array in arrays]


def unpack(content: bytes, arrays: Sequence[bytearray | memoryview]) -> CompiledPlan:
    """Read a plan, which works on these arrays as they are.

    Raises:
        UnreadablePlanError: It is none.
    """
    try:
        plan = _Reader(io.BytesIO(content), buffers=arrays).load()
    # a broken pickle raises whatever its opcodes lead to
    except Exception as exc:
        raise UnreadablePlanError(f"the model host sent a plan that cannot be read: {exc}") from exc
    if not isinstance(plan, CompiledPlan):
        raise UnreadablePlanError("the model host sent something else than a plan")
    return plan
