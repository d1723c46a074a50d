"""`mlflow-ext db`: bring the database up to date, and look whether it is."""

import sys

import click

from mlflow_ext.bootstrap import services
from mlflow_ext.store import schema


@click.group()
def db() -> None:
    """Migrate and check the schema mlflow_ext."""


@db.command()
def upgrade() -> None:
    """Create what is missing: MLflow's tables in an empty database, ours, and the registry triggers."""
    with services(name="mlflow-ext db") as parts:
        if not schema.has_mlflow_tables(parts.engine):
            from mlflow_ext.registry.schema import create_mlflow_tables

            click.echo("creating MLflow's tables (takes some seconds)")
            create_mlflow_tables(parts.settings.require_database_url())
        schema.upgrade(parts.engine)
        click.echo(f"schema mlflow_ext is at revision {schema.current(parts.engine)}")


@db.command()
def current() -> None:
    """Print the revision the database is at."""
    with services(name="mlflow-ext db") as parts:
        click.echo(schema.current(parts.engine) or "no tables of mlflow-ext in this database")


@db.command()
def check() -> None:
    """Compare the database with what this version of mlflow-ext needs; exit 1 when they differ."""
    with services(name="mlflow-ext db") as parts:
        differences = schema.differences(parts.engine)
    for difference in differences:
        click.echo(difference)
    if differences:
        sys.exit(1)
    click.echo("schema mlflow_ext is as it should be")
