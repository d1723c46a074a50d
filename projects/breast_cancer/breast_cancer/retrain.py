"""Entry point `retrain`: learns from scikit-learn's rows and production's, and is judged on the newest of production's.

The file with production's rows is made by the platform (see README.md); nothing is fetched here.
"""

from pathlib import Path

import click
import numpy as np
import pandas as pd

from .data import FEATURES, TARGET, load, split
from .run import fit_and_register

MINIMUM_RECENT = 40


@click.command(help="Train on history and on recent rows of production, which weigh more.")
@click.option(
    "--recent",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Parquet file: the feature columns and `target`, in the order in which they were predicted.",
)
@click.option("--model-name", default="breast_cancer", help="Registered model that gets the new version.")
@click.option(
    "--recent-weight", type=click.FloatRange(0, min_open=True), default=3.0, help="Of a recent row; history: 1."
)
@click.option("--holdout", type=click.FloatRange(0.1, 0.5), default=0.25, help="Newest share, kept for evaluation.")
@click.option("--seed", type=int, default=0, help="For the order of history.")
def main(recent: Path, model_name: str, recent_weight: float, holdout: float, seed: int) -> None:
    """Fit and register one version."""
    rows = pd.read_parquet(recent)
    missing = [column for column in [*FEATURES, TARGET] if column not in rows]
    if missing:
        raise click.BadParameter(f"{recent.name} lacks the columns {', '.join(missing)}", param_hint="--recent")
    rows = rows[[*FEATURES, TARGET]].dropna().astype({TARGET: "int64"})
    learned, evaluation = split(rows, holdout)
    if len(rows) < MINIMUM_RECENT or min(learned[TARGET].nunique(), evaluation[TARGET].nunique()) < 2:
        raise click.BadParameter(
            f"{recent.name}: {len(rows)} complete rows with an outcome; at least {MINIMUM_RECENT} with both outcomes "
            "are needed, among the older and among the newest",
            param_hint="--recent",
        )
    history = load(seed)
    fit_and_register(
        pd.concat([history, learned], ignore_index=True),
        evaluation,
        weight=np.repeat([1.0, recent_weight], [len(history), len(learned)]),
        variant="good",
        model_name=model_name,
    )


if __name__ == "__main__":
    main()
