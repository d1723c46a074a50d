"""Tags that say where a run's code came from: `plugins/run_context.py` writes, `gates/reproducibility.py` reads."""

GIT_COMMIT = "mlflow_ext.git.commit"
GIT_DIRTY = "mlflow_ext.git.dirty"
"""`true` where files under git had changes that were not committed."""
MLFLOW_GIT_COMMIT = "mlflow.source.git.commit"
"""MLflow's own, of the main file's repository."""
