"""The external gate's policy, and the question that hooks are asked; real hooks are asked in tests/integration."""

import json
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from mlflow_ext.gate_context import AskedFor, Registered
from mlflow_ext.gates.external import ExternalPolicy, question
from mlflow_ext.testing import MemoryContext, MemoryVersion

ROWS = pd.DataFrame({"x": [1.0, 2.0], "target": [0, 1]})


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, "url or command"),
        ({"url": "https://a", "command": ["true"]}, "url or command"),
        ({"command": []}, "url or command"),
        ({"url": "ftp://a"}, "an http:// or https:// address"),
        ({"url": "https://ann:secret@a/"}, "no password in it"),
        ({"url": "https://a", "answer": "exit_code"}, "no exit code"),
        ({"command": ["true"], "token_file": "t"}, "for a url"),
    ],
)
def test_a_policy_that_asks_nobody_or_two_is_a_mistake(section: dict[str, Any], words: str) -> None:
    """It is refused when the policy is read, and no password is kept in one."""
    with pytest.raises(ValidationError, match=words):
        ExternalPolicy.model_validate(section)


def test_people_are_shown_who_is_asked() -> None:
    """The name, else the host or the program."""
    assert ExternalPolicy(url="https://hooks.example.org/x?y=1").title == "hooks.example.org"
    assert ExternalPolicy(command=("/opt/checks/load.py", "-v")).title == "load.py"
    assert ExternalPolicy(command=("x",), name="load test").title == "load test"


def test_the_question_has_facts_and_metrics() -> None:
    """Promotion, both versions' metrics, what the registry says; JSON, so nothing that is not finite."""
    context = MemoryContext(
        MemoryVersion(3, {"auc": 0.9, "odd": float("nan")}),
        ROWS,
        MemoryVersion(2, {"auc": 0.8}),
        entry=Registered("wine", 3, "good", tags={"owner": "ann"}, run_id="r", run_params={"seed": "1"}),
        asked_for=AskedFor(7, "wine", 3, "cli", "ann", dry_run=True, attempt=2, run_id="e"),
    )
    asked = json.loads(json.dumps(question(context), allow_nan=False))
    assert asked["promotion"] == {
        "id": 7,
        "model": "wine",
        "version": 3,
        "source": "cli",
        "requested_by": "ann",
        "dry_run": True,
        "attempt": 2,
        "run_id": "e",
    }
    assert asked["candidate"] == {"version": 3, "metrics": {"auc": 0.9}}
    assert asked["champion"] == {"version": 2, "metrics": {"auc": 0.8}}
    assert asked["evaluation"] == {"rows": 2, "target": "target", "model_type": "classifier"}
    assert (asked["registered"]["tags"], asked["registered"]["run_params"]) == ({"owner": "ann"}, {"seed": "1"})


def test_what_is_not_known_is_null() -> None:
    """No promotion, no registered version, a champion that cannot be measured: told, and no error."""
    asked = question(MemoryContext(MemoryVersion(0), ROWS, production_fault="it is gone"))
    assert (asked["promotion"], asked["registered"]) == (None, None)
    assert asked["champion"] == {"version": None, "metrics": {}, "error": "it is gone"}
    assert question(MemoryContext(MemoryVersion(0), ROWS))["champion"] is None
