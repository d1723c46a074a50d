"""The entry points inside a real MLflow, on a real PostgreSQL."""
