"""`mlflow-ext up`: everything on one machine, until Ctrl-C.

What runs and in which order stands in `supervisor/stack.py`.
"""

from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data, logs and state are kept.")
@click.option("--host", help="Address that MLflow's server and the promotion service listen on.")
@click.option("--mlflow-port", type=click.IntRange(0, 65_535), help="Port of MLflow's server; 0 picks a free one.")
@click.option(
    "--serving-port", type=click.IntRange(0, 65_535), help="Port of the promotion service; 0 picks a free one."
)
@click.option("-v", "--verbose", is_flag=True, help="Show the output of every part here as well.")
def up(
    data_dir: Path | None, host: str | None, mlflow_port: int | None, serving_port: int | None, verbose: bool
) -> None:
    """Start PostgreSQL, MLflow, the promotion service and the drift scheduler, and keep them running.

    Without MLFLOW_EXT_DATABASE_URL an embedded PostgreSQL is used (extra `local`). Ctrl-C or SIGTERM stops everything.
    """
    from mlflow_ext.config import load
    from mlflow_ext.supervisor.progress import Progress
    from mlflow_ext.supervisor.session import run

    given: dict[str, Any] = {
        "data_dir": data_dir,
        "mlflow_host": host,
        "serving_host": host,
        "mlflow_port": mlflow_port,
        "serving_port": serving_port,
    }
    settings = load().model_copy(update={key: value for key, value in given.items() if value is not None})
    run(settings, Progress(verbose=verbose))
