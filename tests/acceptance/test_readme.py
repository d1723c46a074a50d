"""The README's commands, run as a reader would run them."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def tour() -> str:
    """The shell block behind the `tour` marker."""
    found = re.search(r"<!-- tour -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found, "the README has lost its tour"
    return found[1]


@pytest.mark.timeout(600)
def test_the_readme_tour_works_as_written(tmp_path: Path) -> None:
    """`mlflow-ext up` in one terminal and the README's block in another end with a served model and a drift verdict.

    Only the ports differ from the text: tests use free ones.
    """
    environ = {
        **{key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_EXT_DATA_DIR": str(tmp_path / "data"),
        "MLFLOW_EXT_MLFLOW_PORT": "0",
        "MLFLOW_EXT_SERVING_PORT": "0",
    }
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [str(BIN / "mlflow-ext"), "up"],
            cwd=ROOT,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        state = tmp_path / "data" / "state.json"
        wait_until(lambda: "Ctrl-C stops everything" in log.read_text() and state.exists(), 120, log.read_text)
        urls = json.loads(state.read_text(encoding="utf-8"))
        script = tour().replace("http://127.0.0.1:5000", urls["mlflow_url"])
        script = script.replace("http://127.0.0.1:8000", urls["serving_url"])
        result = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", script],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert result.returncode == 0, f"{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
        assert '"predictions"' in result.stdout
        assert "inconclusive" in result.stdout, "one prediction is too few for a verdict"
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(60) in (0, 130)
