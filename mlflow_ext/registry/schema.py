"""MLflow's own tables, created by MLflow's own code."""

from mlflow.store.db.utils import _all_tables_exist, _initialize_tables, create_sqlalchemy_engine_with_retry


def create_mlflow_tables(database_url: str) -> None:
    """Create MLflow's tables in a database that has none, at the newest revision MLflow knows."""
    engine = create_sqlalchemy_engine_with_retry(database_url)
    try:
        if not _all_tables_exist(engine):
            _initialize_tables(engine)
    finally:
        engine.dispose()
