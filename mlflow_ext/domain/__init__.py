"""Nouns and rules of the lifecycle. Standard library only: no database, no MLflow, no clock, no files."""
