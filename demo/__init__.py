"""`make demo`: a model's whole life on real data, as a user would live it.

The demo is a client of the platform: it starts `mlflow-ext up`, runs MLflow Projects from git, calls the REST APIs as
the UI and applications do, and shows what it reads back from MLflow and PostgreSQL. It decides nothing itself.
"""
