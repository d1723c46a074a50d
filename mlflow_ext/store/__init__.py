"""PostgreSQL adapters on SQLAlchemy Core. MLflow's own tables are read here, and changed only through MLflow's API."""
