"""Asking for a promotion by command."""

import pytest

from mlflow_ext.domain.promotion import Promotion, PromotionState
from mlflow_ext.errors import ConflictError, NotFoundError, PromotionInProgressError
from mlflow_ext.lifecycle.request_promotion import request_promotion
from tests.unit.lifecycle.world import World


def test_asking_by_command(world: World) -> None:
    """Unknown versions, versions in Production and open promotions are answered clearly."""

    def ask(version: int, *, dry_run: bool = False, cause: str = "cli:1") -> Promotion:
        return request_promotion(
            "wine", version, world.registry, world.promotions, source="cli", cause=cause, dry_run=dry_run
        )

    with pytest.raises(NotFoundError, match="no version 9; its versions are 3, 2, 1"):
        ask(9)
    with pytest.raises(ConflictError, match="in Production already"):
        ask(1)
    first = ask(2)
    assert ask(2, cause="cli:2") == first
    with pytest.raises(PromotionInProgressError):
        ask(2, cause="cli:3", dry_run=True)
    assert world.work().state is PromotionState.PROMOTED
