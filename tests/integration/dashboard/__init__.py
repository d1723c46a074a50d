"""The lifecycle pages inside a real MLflow server."""
