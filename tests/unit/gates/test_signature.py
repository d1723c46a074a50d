"""The signature gate: what clients would notice fails, what they know of does not."""

from typing import Any

import pandas as pd
import pytest

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.domain.signature import Column, Signature
from mlflow_ext.gates import judge
from mlflow_ext.gates.signature import SignaturePolicy
from mlflow_ext.testing import MemoryContext, MemoryVersion

BEFORE = Signature((Column("a", "long"), Column("b", "double")), (Column("0", "long"),))
ROWS = pd.DataFrame({"target": [0, 1]})


def judged(
    after: Signature | None, before: Signature | None = BEFORE, *, first: bool = False, **policy: Any
) -> GateResult:
    """Lay one signature beside another."""
    production = None if first else MemoryVersion(1, signature=before)
    context = MemoryContext(MemoryVersion(2, signature=after), ROWS, production)
    [result] = judge([SignaturePolicy.model_validate(policy)], context)
    assert (result.evidence is None) == (not context.tables)
    return result


@pytest.mark.parametrize(
    ("inputs", "accept", "verdict", "words"),
    [
        ((Column("a", "long"), Column("b", "double")), [], Verdict.PASSED, "that of Production"),
        (
            (Column("a", "double"),),
            [],
            Verdict.PASSED,
            "would notice: input column 'a' was long and is double",
        ),
        ((*BEFORE.inputs, Column("c", "string")), [], Verdict.FAILED, "input column 'c' (string) was added"),
        ((*BEFORE.inputs, Column("c", "string")), ["c"], Verdict.PASSED, "'c'"),
        ((Column("a", "string"), Column("b", "float")), ["a"], Verdict.FAILED, "'b' was double and is float"),
    ],
)
def test_inputs(inputs: tuple[Column, ...], accept: list[str], verdict: Verdict, words: str) -> None:
    """What breaks is named, unless the policy accepts it."""
    result = judged(Signature(inputs, BEFORE.outputs), accept=accept)
    assert (result.verdict, words in result.reason) == (verdict, True)
    assert (result.measured == 0) == (verdict is Verdict.PASSED)


def test_outputs() -> None:
    """A changed output fails, unless the clients know of it."""
    after = Signature(BEFORE.inputs, (Column("0", "double"),))
    assert judged(after).verdict is Verdict.FAILED
    known = judged(after, accept_output=True)
    assert known.verdict is Verdict.PASSED
    assert known.details["changes"][0]["before"] == "long"


def test_a_signature_that_is_missing() -> None:
    """The candidate needs one; without Production's nobody knows what clients send; a first version has no clients."""
    assert judged(None).verdict is Verdict.FAILED
    assert judged(BEFORE, None).verdict is Verdict.INCONCLUSIVE
    assert judged(BEFORE, first=True).verdict is Verdict.PASSED
    many = Signature(tuple(Column(str(n), "long") for n in range(9)), BEFORE.outputs)
    assert "and 4 more" in judged(many).reason
