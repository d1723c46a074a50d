"""Plans as they travel from a model host to a scoring process."""

import pickle

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from serving.compiled_plans import UnreadablePlanError, pack, unpack
from serving.kernels import CompiledKernel, compile_kernels
from serving.plan import CompiledPlan

NAMES = ["a", "b", "c", "d"]
RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(2_000, len(NAMES)))


@pytest.fixture(scope="module")
def plan() -> CompiledPlan:
    """Compile a plan of a forest, whose nodes are large arrays."""
    model = RandomForestClassifier(20, random_state=0).fit(ROWS, ROWS[:, 0] + RANDOM.normal(size=len(ROWS)) > 0)
    kernel = next(iter(compile_kernels(model, NAMES)))
    return CompiledPlan(tuple((name, "double") for name in NAMES), "kernel", kernel, batches=True, inline=True)


def test_arrays_travel_beside_the_pickle_and_are_used_where_they_lie(plan: CompiledPlan) -> None:
    """The pickle holds no array; what came is not copied once more, and predicts the same."""
    content, arrays = pack(plan)
    assert len(content) < 10_000 < sum(array.nbytes for array in arrays)
    came = [bytearray(array) for array in arrays]
    read = unpack(content, came)
    assert isinstance(read.compute, CompiledKernel)
    assert isinstance(plan.compute, CompiledKernel)
    assert (read.compute(ROWS[:50]) == plan.compute(ROWS[:50])).all()
    children = read.compute.estimator.nodes._children  # type: ignore[union-attr]
    assert any(np.shares_memory(children, np.frombuffer(one, dtype=np.uint8)) for one in came)
    assert children.flags.aligned


class Evil:
    """Calls what it likes when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Name a call."""
        return print, ("called",)


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", pickle.dumps(Evil()), pickle.dumps({"a": 1})], ids=["empty", "other", "call", "dict"]
)
def test_what_is_no_plan_is_refused(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but our kernels and NumPy's arrays is read, and nothing is called."""
    with pytest.raises(UnreadablePlanError):
        unpack(content, [])
    assert "called" not in capsys.readouterr().out


def test_a_plan_without_its_arrays_is_refused(plan: CompiledPlan) -> None:
    """Fewer arrays than the pickle asks for, or shorter ones."""
    content, arrays = pack(plan)
    with pytest.raises(UnreadablePlanError):
        unpack(content, [bytearray(array) for array in arrays[:-1]])
    with pytest.raises(UnreadablePlanError):
        unpack(content, [bytearray(array)[:8] for array in arrays])
