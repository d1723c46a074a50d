"""Entry point `retrain`: learns from history and from what production saw lately, is judged on the latest of it.

The file with production's rows is made by the platform (see README.md); nothing is fetched here.
"""

from pathlib import Path

import click
import numpy as np
import pandas as pd

from . import data
from .model import build
from .run import Rows, fit_and_register

MINIMUM_RECENT = 200


@click.command(help="Train on January and February and on recent rows of production, which weigh more.")
@click.option(
    "--recent",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Parquet file: the feature columns and `target`, in the order in which they were predicted.",
)
@click.option("--model-name", default="flights", help="Registered model that gets the new version.")
@click.option("--rows", type=click.IntRange(0), default=20_000, help="Rows of history drawn at most; 0 takes all.")
@click.option(
    "--recent-weight", type=click.FloatRange(0, min_open=True), default=3.0, help="Of a recent row; history: 1."
)
@click.option("--holdout", type=click.FloatRange(0.05, 0.5), default=0.25, help="Newest share, kept for evaluation.")
@click.option("--max-iter", type=click.IntRange(1), default=100, help="Boosting steps.")
@click.option("--seed", type=int, default=0)
def main(
    recent: Path, model_name: str, rows: int, recent_weight: float, holdout: float, max_iter: int, seed: int
) -> None:
    """Fit and register one version."""
    try:
        learned, evaluation = split(read_recent(recent), holdout)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--recent") from exc
    winter = data.between(data.load(), pd.Timestamp("2013-01-01"), pd.Timestamp("2013-02-28"))
    history = data.sample(winter, rows, seed).drop(columns="date")
    fit_and_register(
        build("good", max_iter, seed),
        Rows(
            training=pd.concat([history, learned], ignore_index=True),
            weight=np.repeat([1.0, recent_weight], [len(history), len(learned)]),
            evaluation=evaluation,
            # what production looks like now: the version is meant for that, so later windows are compared with it
            reference=learned,
        ),
        model_name=model_name,
        seed=seed,
    )


def read_recent(file: Path) -> pd.DataFrame:
    """Read the features and outcomes of production; rows whose outcome is not known yet are left out.

    Raises:
        ValueError: Columns are missing, or there are too few rows to learn from and to judge by.
    """
    rows = pd.read_parquet(file)
    missing = [column for column in [*data.FEATURES, data.TARGET] if column not in rows]
    if missing:
        raise ValueError(f"{file.name} lacks the columns {', '.join(missing)}")
    rows = rows.dropna(subset=[data.TARGET]).reset_index(drop=True)
    if len(rows) < MINIMUM_RECENT:
        raise ValueError(f"{file.name} holds {len(rows)} rows with an outcome; at least {MINIMUM_RECENT} are needed")
    return data.as_features(rows).assign(**{data.TARGET: rows[data.TARGET].astype("int64")})


def split(recent: pd.DataFrame, holdout: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Part recent rows in time: the older ones to learn from, the newest share to judge by.

    Raises:
        ValueError: One part has no late or no punctual flight.
    """
    cut = len(recent) - round(len(recent) * holdout)
    learned, evaluation = recent.iloc[:cut].reset_index(drop=True), recent.iloc[cut:].reset_index(drop=True)
    if min(learned[data.TARGET].nunique(), evaluation[data.TARGET].nunique()) < 2:
        raise ValueError("the older or the newest rows hold only one outcome; give a longer stretch")
    return learned, evaluation


if __name__ == "__main__":
    main()
