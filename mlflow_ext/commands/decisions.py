"""`mlflow-ext approve`, `reject`, `abort`: a person's word on a promotion, in the name of whoever runs the command."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mlflow_ext.domain.promotion import Promotion
    from mlflow_ext.lifecycle.decide import Decisions

_Command = Callable[..., None]


def _with_arguments(command: _Command) -> _Command:
    comment = click.option("--comment", default="", help="Why; it is recorded.")
    return click.argument("promotion", type=click.IntRange(min=1))(comment(command))


@click.command()
@_with_arguments
def approve(promotion: int, comment: str) -> None:
    """Agree to PROMOTION, which waits for a person; the last one that is needed lets it go to Production."""
    _decided(lambda decisions: decisions.approve(promotion, comment))


@click.command()
@_with_arguments
def reject(promotion: int, comment: str) -> None:
    """Refuse PROMOTION, which waits for a person; one whose version is in Production is rolled back."""
    _decided(lambda decisions: decisions.reject(promotion, comment))


@click.command()
@_with_arguments
def abort(promotion: int, comment: str) -> None:
    """End the open PROMOTION, wherever it stands; its version stays in its stage."""
    _decided(lambda decisions: decisions.abort(promotion, comment))


def _decided(decision: "Callable[[Decisions], Promotion]") -> None:
    from mlflow_ext.answers import PromotionAnswer
    from mlflow_ext.bootstrap import lifecycle, services

    with services(name="mlflow-ext decision") as parts:
        click.echo(repr(PromotionAnswer(decision(lifecycle(parts).decisions))))
