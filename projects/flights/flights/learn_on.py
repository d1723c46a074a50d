"""Entry point `learn_on`: the served version learns on from what production saw lately, and from nothing else.

Only versions of the variant `online` can; `retrain.py` fits anew from history and recent rows.
"""

from pathlib import Path

import click
import mlflow
import numpy as np

from . import data, model
from .retrain import read_recent, split
from .run import Rows, fit_and_register


@click.command(help="Let the version in Production learn on from recent rows, and register what comes of it.")
@click.option(
    "--recent",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Parquet file: the feature columns and `target`, in the order in which they were predicted.",
)
@click.option("--model-name", default="flights", help="Registered model: what is in Production learns on.")
@click.option("--holdout", type=click.FloatRange(0.05, 0.5), default=0.25, help="Newest share, kept for evaluation.")
@click.option("--seed", type=int, default=0, help="For the reference rows that are drawn.")
def main(recent: Path, model_name: str, holdout: float, seed: int) -> None:
    """Learn on and register one version."""
    try:
        learned, evaluation = split(read_recent(recent), holdout)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--recent") from exc
    pipeline = mlflow.sklearn.load_model(f"models:/{model_name}@production")
    try:
        fit_and_register(
            pipeline,
            Rows(training=learned, weight=np.ones(len(learned)), evaluation=evaluation, reference=learned),
            model_name=model_name,
            seed=seed,
            learn=lambda pipeline, rows: model.learn_on(
                pipeline, data.as_features(rows.training), rows.training[data.TARGET]
            ),
        )
    except ValueError as exc:
        raise click.ClickException(f"{model_name} in Production: {exc}") from exc


if __name__ == "__main__":
    main()
