"""Mirrors mlflow_ext/registry."""
