"""`mlflow-ext policy` and `mlflow-ext gates list`, as a person uses them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlflow_ext.cli import cli
from mlflow_ext.errors import InvalidSettingsError

POLICY = """
models:
  wine:
    gates:
      - {metric: roc_auc, threshold: 0.75}
      - {gate: signature, importance: advisory}
  beer:
    gates: [{gate: signature, importance: dry_run}]
"""


def test_a_good_file_is_told_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model's gates in words; the environment of this machine plays no part."""
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    monkeypatch.setenv("MLFLOW_EXT_SERVING_PORT", "no number")
    done = CliRunner().invoke(cli, ["policy", "check", str(file)], catch_exceptions=False)
    assert done.exit_code == 0
    for part in (
        "policy.yaml: no mistakes",
        "metric (critical): roc_auc ≥ 0.75",
        "signature (advisory)",
        "beer:\n  signature (dry_run): signature takes what clients send today\n  no critical gate",
        "defaults:\n  no gates",
    ):
        assert part in done.output


def test_every_mistake_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    """With its place; a file that is not there is one too."""
    file = tmp_path / "policy.yaml"
    file.write_text("models: {wine: {gates: [{gate: metrics}, {metric: auc}], drift: {windows: 3}}}")
    with pytest.raises(InvalidSettingsError) as raised:
        CliRunner().invoke(cli, ["policy", "check", str(file)], catch_exceptions=False)
    for part in ("models.wine.gates.0", "known are ", "models.wine.gates.1", "models.wine.drift.windows"):
        assert part in str(raised.value)
    with pytest.raises(InvalidSettingsError, match="cannot be read"):
        CliRunner().invoke(cli, ["policy", "check", str(tmp_path / "none.yaml")], catch_exceptions=False)


def test_the_schema_is_json() -> None:
    """It can be written to a file that an editor reads."""
    done = CliRunner().invoke(cli, ["policy", "schema"], catch_exceptions=False)
    assert json.loads(done.output)["title"] == "mlflow-ext.yaml"


def test_the_installed_gates_are_listed() -> None:
    """Each with a sentence."""
    done = CliRunner().invoke(cli, ["gates", "list"], catch_exceptions=False)
    listed = dict(line.split(maxsplit=1) for line in done.output.splitlines())
    assert {"metric", "better_than_champion", "signature", "calibration", "behaviour", "slices"} <= set(listed)
    assert all(sentence.endswith(".") for sentence in listed.values())
