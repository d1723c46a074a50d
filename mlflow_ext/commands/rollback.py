"""`mlflow-ext rollback`: back to the last good version."""

import click


@click.command()
@click.argument("model")
def rollback(model: str) -> None:
    """Put the last good version of MODEL back into Production, and remember that the present one was bad."""
    from mlflow_ext import notebook

    click.echo(repr(notebook.rollback(model)))
