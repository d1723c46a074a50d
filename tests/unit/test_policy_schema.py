"""The JSON Schema of the policy file takes what the platform takes, and explains it."""

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mlflow_ext.config import Settings
from mlflow_ext.errors import InvalidSettingsError
from mlflow_ext.gate_kinds import known_gates
from mlflow_ext.policy_schema import policy_schema

ROOT = Path(__file__).parents[2]
SCHEMA = policy_schema()
VALID = jsonschema.Draft202012Validator(SCHEMA)
GOOD: dict[str, Any] = {
    "defaults": {"drift": {"schedule": "0 6 * * *"}},
    "models": {
        "wine": {
            "gates": [
                {"metric": "roc_auc", "threshold": 0.7},
                {"gate": "better_than_champion", "ask": "non_inferior", "margin": 0.01, "importance": "advisory"},
                {"gate": "behaviour", "costs": {"a": {"b": 1}}, "max_cost": 1},
            ]
        }
    },
}


def test_it_is_a_schema_and_takes_our_own_file() -> None:
    """The schema is valid itself, and so is `mlflow-ext.yaml` of this repository by it."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    VALID.validate(yaml.safe_load((ROOT / "mlflow-ext.yaml").read_text()))
    VALID.validate(GOOD)


@pytest.mark.parametrize(
    "gate",
    [
        {"gate": "metrics", "metric": "roc_auc", "threshold": 1},
        {"min_agreement": 0.9},
        {"metric": "roc_auc", "threshold": "high"},
        {"gate": "metric", "metric": "roc_auc", "threshold": 1, "treshold": 2},
        {"gate": "metric", "threshold": 1},
        {"metric": "roc_auc", "threshold": 1, "importance": "urgent"},
        {"gate": "calibration", "max_ece": 2},
        "metric",
    ],
)
def test_a_mistake_in_a_gate_is_one_for_the_editor_and_for_the_platform(gate: Any, tmp_path: Path) -> None:
    """Both refuse it."""
    from mlflow_ext.config import load

    bad = copy.deepcopy(GOOD)
    bad["models"]["wine"]["gates"].append(gate)
    assert not VALID.is_valid(bad)
    file = tmp_path / "mlflow-ext.yaml"
    file.write_text(yaml.safe_dump(bad))
    with pytest.raises(InvalidSettingsError, match=r"models\.wine\.gates\.3"):
        load({}, file)


def test_every_key_is_explained() -> None:
    """An editor shows what a key means: each setting and each bound of each gate has its sentence."""
    gates = SCHEMA["$defs"]["ModelPolicy"]["properties"]["gates"]["items"]["anyOf"]
    assert [one["properties"]["gate"]["const"] for one in gates] == known_gates()
    for part in (SCHEMA, *SCHEMA["$defs"].values(), *gates):
        unexplained = [key for key, one in part["properties"].items() if "description" not in one and "$ref" not in one]
        assert set(unexplained) <= {"guard", "gates"}, part["title"]
    assert "Attributes" not in str(SCHEMA)
    assert set(SCHEMA["properties"]) == set(Settings.model_fields)
