"""The lifecycle pages inside MLflow's server."""
