"""Tests with a real PostgreSQL and a real MLflow server."""
