"""The example of a gate of one's own: installed beside mlflow-ext, it is one of the gates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_gate"
BIN = Path(sys.executable).parent
POLICY = "models: {loans: {gates: [{gate: share_of_answers, answer: refuse, at_most: 0.2, importance: advisory}]}}"
JUDGE = """
import json, sys
import numpy as np, pandas as pd
from pathlib import Path
from mlflow_ext.config import load
from mlflow_ext.gates import judge
from mlflow_ext.testing import MemoryContext, MemoryVersion

def version(number, share):
    return MemoryVersion(number, answer=lambda rows: np.where(rows["x"] < share, "refuse", "grant"))

rows = pd.DataFrame({"x": np.arange(100) / 100, "target": ["grant"] * 100})
context = MemoryContext(version(2, float(sys.argv[2])), rows, version(1, 0.1))
[result] = judge(load({}, Path(sys.argv[1])).policy("loans").gates, context)
print(json.dumps(result.as_dict()))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The example, installed into a directory of its own that Python looks at."""
    site = tmp_path_factory.mktemp("site")
    copy = tmp_path_factory.mktemp("example")
    for file in EXAMPLE.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    install = [BIN / "uv", "pip", "install", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*install, "--python", sys.executable, "--target", site, copy], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(site)}


def run(environment: dict[str, str], *command: str | Path) -> str:
    """Run a command in which the example is installed."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed_and_a_policy_may_name_it(environment: dict[str, str], tmp_path: Path) -> None:
    """`gates list`, `policy check` and `policy schema` know it like one of ours."""
    file = tmp_path / "mlflow-ext.yaml"
    file.write_text(POLICY)
    command = BIN / "mlflow-ext"
    assert "share_of_answers      Bounds for the share of one answer." in run(environment, command, "gates", "list")
    told = run(environment, command, "policy", "check", file)
    assert "share_of_answers (advisory): 'refuse' for 0% to 20% of rows" in told
    assert '"const": "share_of_answers"' in run(environment, command, "policy", "schema")
    file.write_text(POLICY.replace("at_most: 0.2", "at_least: 0.5, at_most: 0.2"))
    done = subprocess.run(
        [command, "policy", "check", file], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "models.loans.gates.0" in done.stderr) == (1, True)
    assert "at_least is above at_most" in done.stderr


def test_it_judges(environment: dict[str, str], tmp_path: Path) -> None:
    """Within the bounds it passes, beyond them it fails; the policy says what that counts for."""
    file = tmp_path / "mlflow-ext.yaml"
    file.write_text(POLICY)
    verdicts = {}
    for share in (0.15, 0.3):
        result = json.loads(run(environment, sys.executable, "-c", JUDGE, file, str(share)))
        assert (result["measured"], result["champion"], result["importance"]) == (share, 0.1, "advisory")
        verdicts[share] = result["verdict"]
    assert verdicts == {0.15: "passed", 0.3: "failed"}
