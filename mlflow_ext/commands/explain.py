"""`mlflow-ext explain`: a promotion's story in plain sentences. The sentences are made in `domain/explanation.py`."""

import click


@click.command()
@click.argument("promotion", type=click.IntRange(min=1))
def explain(promotion: int) -> None:
    """Tell what happened to PROMOTION, why, who decided, and what comes next."""
    from datetime import UTC, datetime

    from mlflow_ext.bootstrap import lifecycle, services
    from mlflow_ext.commands.watching import told
    from mlflow_ext.domain import explanation

    with services(name="mlflow-ext explain") as parts:
        found = lifecycle(parts)
        story = told(found, found.promotions.get(promotion))
    for sentence in explanation.explain(story, datetime.now(UTC)):
        click.echo(sentence)
