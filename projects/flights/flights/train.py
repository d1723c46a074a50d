"""Entry point `train`: learns from the first weeks of the year, is judged on the days right after them.

Learning again from production's rows is `retrain.py`.
"""

from datetime import datetime, timedelta
from typing import get_args

import click
import numpy as np

from . import data
from .model import Variant, build
from .run import Rows, fit_and_register


@click.command(help="Train on the flights of a period; its last days are kept for evaluation.")
@click.option("--model-name", default="flights", help="Registered model that gets the new version.")
@click.option("--variant", type=click.Choice(get_args(Variant)), default="good", help="Which pipeline.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), default="2013-01-01", help="First day.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), default="2013-02-28", help="Last day.")
@click.option("--evaluation-days", type=click.IntRange(1), default=10, help="Last days, held out for evaluation.")
@click.option("--rows", type=click.IntRange(0), default=0, help="Training rows drawn at most; 0 takes all.")
@click.option("--max-iter", type=click.IntRange(1), default=100, help="Boosting steps of the good pipeline.")
@click.option("--label-noise", type=click.FloatRange(0, 1), default=0.0, help="Share of labels shuffled: a bad model.")
@click.option("--seed", type=int, default=0)
def main(
    model_name: str,
    variant: Variant,
    since: datetime,
    until: datetime,
    evaluation_days: int,
    rows: int,
    max_iter: int,
    label_noise: float,
    seed: int,
) -> None:
    """Fit and register one version."""
    flights = data.load()
    last_training_day = until - timedelta(days=evaluation_days)
    training = data.sample(data.between(flights, since, last_training_day), rows, seed)
    evaluation = data.between(flights, last_training_day + timedelta(days=1), until)
    for name, part in (("training", training), ("evaluation", evaluation)):
        if part[data.TARGET].nunique() < 2:
            raise click.UsageError(
                f"the {name} days hold no late or no punctual flights: choose --since, --until wider"
            )
    training, evaluation = (part.drop(columns="date") for part in (training, evaluation))
    noisy = training.assign(**{data.TARGET: shuffled(training[data.TARGET].to_numpy(), label_noise, seed)})
    fit_and_register(
        build(variant, max_iter, seed),
        Rows(training=noisy, weight=np.ones(len(noisy)), evaluation=evaluation, reference=training),
        model_name=model_name,
        seed=seed,
    )


def shuffled(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Shuffle a share of the labels among themselves, so that those rows teach nothing."""
    random = np.random.default_rng(seed)
    chosen = np.flatnonzero(random.random(len(labels)) < share)
    labels = labels.copy()
    labels[chosen] = random.permutation(labels[chosen])
    return labels


if __name__ == "__main__":
    main()
