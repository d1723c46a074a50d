"""The reproducibility gate: what the run must have recorded, and what is said where it did not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlflow_ext.domain.gates import GateResult, Verdict
from mlflow_ext.gate_context import Registered
from mlflow_ext.gates import judge
from mlflow_ext.gates.reproducibility import ReproducibilityPolicy, gaps
from mlflow_ext.testing import MemoryContext, MemoryVersion

GOOD = Registered(
    "wine",
    2,
    run_id="r1",
    run_tags={"mlflow_ext.git.commit": "abc", "mlflow_ext.git.dirty": "false"},
    run_params={"seed": "7"},
    datasets=({"name": "wine", "digest": "d1", "source": "s", "context": "training"},),
)
LOCKED = "mlflow==3.17.2\n# a comment\n-c constraints.txt\nown @ https://example.org/own.whl\nnumpy==2.4.6\n"


def judged(
    directory: Path, entry: Registered | None = GOOD, requirements: str | None = LOCKED, **policy: Any
) -> GateResult:
    """Judge a version with such records."""
    if requirements is not None:
        (directory / "requirements.txt").write_text(requirements)
    context = MemoryContext(MemoryVersion(2, directory=directory), pd.DataFrame({"target": [0]}), entry=entry)
    [result] = judge([ReproducibilityPolicy.model_validate(policy)], context)
    return result


def test_a_run_that_recorded_everything_passes(tmp_path: Path) -> None:
    """Commit, clean, parameter, dataset and locked packages."""
    result = judged(tmp_path, parameters=["seed"])
    assert (result.verdict, result.measured) == (Verdict.PASSED, 0)
    assert (result.details["commit"], result.details["datasets"][0]["digest"]) == ("abc", "d1")


@pytest.mark.parametrize(
    ("entry", "requirements", "words"),
    [
        (replace(GOOD, run_id=None), LOCKED, "not logged by an MLflow run"),
        (replace(GOOD, run_tags={}), LOCKED, "the git commit of the training code is not known"),
        (replace(GOOD, run_tags={"mlflow.source.git.commit": "abc"}), LOCKED, "whether all changes were committed"),
        (replace(GOOD, run_tags={**GOOD.run_tags, "mlflow_ext.git.dirty": "true"}), LOCKED, "were not committed"),
        (replace(GOOD, run_params={}), LOCKED, "the run logged no parameter seed"),
        (replace(GOOD, datasets=()), LOCKED, "log it with mlflow.log_input"),
        (GOOD, None, "the model has no requirements.txt"),
        (GOOD, "numpy>=2\npandas==3.*\nscipy\nskops==0.11", "an exact version: numpy>=2, pandas==3.*, scipy"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, entry: Registered, requirements: str | None, words: str) -> None:
    """One phrase for each gap, and nothing else."""
    result = judged(tmp_path, entry, requirements, parameters=["seed"])
    assert (result.verdict, result.measured) == (Verdict.FAILED, 1)
    assert words in result.reason


@given(st.fixed_dictionaries({word: st.booleans() for word in ("commit", "clean", "dataset", "locked")}))
def test_what_is_not_asked_for_is_not_missed(asked: dict[str, bool]) -> None:
    """A run that recorded nothing has a gap for each thing that is asked, and for nothing else."""
    empty = Registered("wine", 2, run_id="r1", run_tags={"mlflow_ext.git.dirty": "true"})
    assert len(gaps(ReproducibilityPolicy(**asked), empty, "numpy")) == sum(asked.values())


def trained_twice(second: dict[str, float], **policy: Any) -> tuple[GateResult, MemoryContext]:
    """Judge a version whose first run logged an rmse of 0.5 with seed 3."""
    first = Registered(
        "wine",
        2,
        run_id="r",
        run_params={"seed": "3"},
        run_metrics={"rmse": 0.5},
        run_tags={"mlflow_ext.git.commit": "abc"},
    )
    context = MemoryContext(MemoryVersion(2), pd.DataFrame({"target": [0]}), entry=first, again=second)
    given = {"rerun": "https://git/x.git", "metrics": ["rmse"], "parameters": ["seed"], **policy}
    [_, again] = judge([ReproducibilityPolicy.model_validate(given)], context)
    return again, context


def test_a_second_run_gives_the_same_metrics() -> None:
    """At the recorded commit with the recorded seed; a difference beyond the tolerance, or no metric, fails."""
    same, context = trained_twice({"rmse": 0.5, "r2": 0.9})
    assert (same.verdict, same.measured) == (Verdict.PASSED, 0.0)
    [(asked, parameters, commit)] = context.reruns
    assert (asked.project, asked.entry_point, parameters, commit) == (
        "https://git/x.git",
        "train",
        {"seed": "3"},
        "abc",
    )
    other, _ = trained_twice({"rmse": 0.51}, tolerance=0.005)
    assert (other.verdict, "gave 0.51 for rmse where the first gave 0.5" in other.reason) == (Verdict.FAILED, True)
    near, _ = trained_twice({"rmse": 0.51}, tolerance=0.02)
    none, _ = trained_twice({"r2": 0.9})
    broken, _ = trained_twice({"rmse": float("nan")})
    assert (near.verdict, none.verdict, broken.verdict) == (Verdict.PASSED, Verdict.FAILED, Verdict.FAILED)


def test_nothing_is_trained_where_nothing_can_be_compared() -> None:
    """A seed or a metric that the first run did not log."""
    for policy in ({"parameters": ["depth"]}, {"metrics": ["auc"]}):
        result, context = trained_twice({"rmse": 0.5}, **policy)
        assert (result.verdict, context.reruns) == (Verdict.FAILED, [])
    with pytest.raises(ValidationError, match="rerun needs metrics"):
        ReproducibilityPolicy(rerun="x")
