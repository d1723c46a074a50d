"""MLflow adapters: with `plugins/` the only place in `mlflow_ext` that imports mlflow."""
