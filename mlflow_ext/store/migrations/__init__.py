"""Alembic migrations of the schema `mlflow_ext`, with a version table of their own."""
