"""Verbs of the lifecycle, one use case a file. Ports come in as arguments; nothing here knows MLflow or SQL."""
