"""A training project that is run in a moment, and that does not like the number 13."""

from pathlib import Path

TRAIN = """\
import sys
import mlflow
if sys.argv[1] == "13":
    sys.exit("unlucky")
with mlflow.start_run():
    mlflow.log_metric("rmse", float(sys.argv[1]) / {divisor})
"""
PROJECT = """\
name: small
entry_points:
  train:
    parameters:
      seed: string
    command: "python train.py {seed}"
"""


def write_project(directory: Path, divisor: int = 2) -> None:
    """Write it into a directory, over what is there; it measures `rmse`, its seed by the divisor."""
    directory.mkdir(exist_ok=True)
    (directory / "MLproject").write_text(PROJECT)
    (directory / "train.py").write_text(TRAIN.format(divisor=divisor))
