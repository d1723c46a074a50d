"""Entry point `train`: learns from most rows, is judged on the rest.

Learning again from production's rows is `retrain.py`.
"""

from typing import get_args

import click
import numpy as np

from .data import load, split
from .run import Variant, fit_and_register


@click.command(help="Train on scikit-learn's breast cancer data and register the model.")
@click.option("--model-name", default="breast_cancer", help="Registered model that gets the new version.")
@click.option("--variant", type=click.Choice(get_args(Variant)), default="good", help="Which model.")
@click.option("--rows", type=click.IntRange(100), default=569, help="Rows taken at most, before the hold-out.")
@click.option("--holdout", type=click.FloatRange(0.1, 0.5), default=0.3, help="Share kept for evaluation.")
@click.option("--seed", type=int, default=0, help="For the order of the rows.")
def main(model_name: str, variant: Variant, rows: int, holdout: float, seed: int) -> None:
    """Fit and register one version."""
    training, evaluation = split(load(seed).head(rows), holdout)
    fit_and_register(training, evaluation, weight=np.ones(len(training)), variant=variant, model_name=model_name)


if __name__ == "__main__":
    main()
