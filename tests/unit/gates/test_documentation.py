"""The documentation gate: everything that is missing is named at once."""

from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.gate_context import Registered
from mlflow_ext.gates import judge
from mlflow_ext.gates.documentation import DocumentationPolicy, gaps
from mlflow_ext.testing import MemoryContext, MemoryVersion

TEXT = "Predicts the quality of wine from eleven measurements."
TAGS = {"owner": "ann", "intended_use": "cellar planning", "risk_class": "minimal"}


def judged(entry: Registered | None, **policy: Any) -> GateResult:
    """Judge what the registry says."""
    context = MemoryContext(MemoryVersion(2), pd.DataFrame({"target": [0]}), entry=entry)
    [result] = judge([DocumentationPolicy.model_validate(policy)], context)
    return result


def test_what_is_written_at_version_or_model_counts() -> None:
    """The version's own words come first; the model's fill the gaps."""
    own = Registered("wine", 2, TEXT, tags=TAGS)
    shared = Registered("wine", 2, "short", TEXT, {"owner": "bob", "risk_class": "HIGH"}, TAGS)
    assert (judged(own).verdict, judged(shared).verdict) == (Verdict.PASSED, Verdict.PASSED)
    assert (judged(shared).details["owner"], judged(shared).measured) == ("bob", 0)


def test_everything_that_is_missing_is_named() -> None:
    """Description, missing tags with their allowed values, and wrong values, in one sentence with the way out."""
    result = judged(Registered("wine", 2, "short", tags={"owner": " ", "risk_class": "severe"}))
    assert (result.verdict, result.measured) == (Verdict.FAILED, 4)
    for part in (
        "the description has 5 characters and needs 40",
        "there is no tag owner",
        "there is no tag intended_use",
        "'severe' and must be one of minimal, limited, high",
        "Write it at version 2",
    ):
        assert part in result.reason
    assert "no tag risk_class (minimal, limited, high)" in judged(Registered("wine", 2, TEXT)).reason


def test_a_model_that_is_not_registered_is_inconclusive() -> None:
    """There is nothing to read."""
    assert judged(None).verdict is Verdict.INCONCLUSIVE


words = st.dictionaries(st.sampled_from("abc"), st.text(max_size=3), max_size=3)


@given(words, words, st.lists(st.sampled_from("abc"), max_size=3, unique=True), st.text(max_size=6), st.integers(0, 6))
def test_writing_more_never_makes_it_worse(
    tags: dict[str, str], model_tags: dict[str, str], wanted: list[str], text: str, least: int
) -> None:
    """Whatever is asked without allowed values, another tag or a longer text leaves no new gap."""
    policy = DocumentationPolicy(min_characters=least, tags=tuple(wanted), values={})
    before = gaps(policy, Registered("m", 1, text, tags=tags))
    after = gaps(policy, Registered("m", 1, text + "x", text, tags, model_tags))
    assert len(after) <= len(before)
    assert gaps(policy, Registered("m", 1, "x" * 6, tags=dict.fromkeys(wanted, "y"))) == []
