"""One module per MLflow entry point. Standard library only at import, anything heavier inside a function."""
