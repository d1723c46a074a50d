"""The model host: the process that holds a version's Python model and MLflow's scoring code, one for each version.

Scoring processes import nothing of this package: they meet it over a socket (`serving/model_host.py`).
"""
