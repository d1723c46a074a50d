"""The lifecycle pages inside MLflow's server: `reading.py` looks, `routes.py` answers, `templates/` shows."""
