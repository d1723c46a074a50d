"""Commands of `mlflow-ext`, one a file."""
