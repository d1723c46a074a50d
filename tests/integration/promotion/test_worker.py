"""The promotion worker as a process, on real PostgreSQL and a real MLflow server."""

import time

from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import Stage
from tests.integration.promotion.conftest import GATES, GOOD, WEAK, Stack


def test_a_good_candidate_is_promoted_and_mlflow_tells_why(stack: Stack) -> None:
    """Marked Staging, measured against Production on the same rows, promoted, and shown in run, tags, description."""
    weak, good = stack.register(WEAK), stack.register(GOOD)
    stack.move(weak, Stage.PRODUCTION)
    stack.client.update_model_version(stack.model, str(good), "My own words.")
    stack.start_worker(GATES)
    begun = time.monotonic()
    stack.move(good, Stage.STAGING)
    promotion = stack.ended(good)
    print(f"Staging to Production: {time.monotonic() - begun:.2f} s")
    assert promotion.state is PromotionState.PROMOTED, promotion.reason + stack.logs()
    assert (stack.stage(good), stack.stage(weak)) == (Stage.PRODUCTION, Stage.ARCHIVED)
    print(promotion.report)
    print(stack.parts.promotions.story(promotion.id))
    print(stack.logs())
