"""A world of in-memory twins in which promotions are tested: registry, store and workers that can die."""

from collections.abc import Callable

from mlflow_ext.domain.promotion import Promotion, PromotionState
from mlflow_ext.domain.stages import ModelVersion, Stage
from mlflow_ext.errors import ChangedModelError
from mlflow_ext.lifecycle.open_promotions import end_overtaken, open_promotions
from mlflow_ext.lifecycle.promote import Promoter
from mlflow_ext.lifecycle.reconcile import agree_marks, reconcile_pointer
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.testing import MemoryPointers, MemoryPromotions, MemoryRegistry, MemoryResults, ScriptedEvaluator
from mlflow_ext.testing.promotions import PromotionShelf

POLICY = ModelPolicy.model_validate({"gates": [{"metric": "auc", "threshold": 0.5, "min_absolute_change": 0.0}]})


class World:
    """Registry, store and one worker; `killed()` gives another worker after the first one's death."""

    def __init__(self, policy: ModelPolicy = POLICY) -> None:
        self.registry = MemoryRegistry(holds=self.holds)
        self.pointers = MemoryPointers(clock=self.registry.log.clock)
        self.shelf = PromotionShelf(now=self.registry.log.clock.now)
        self.evaluator = ScriptedEvaluator({1: {"auc": 0.6}, 2: {"auc": 0.7}, 3: {"auc": 0.4}})
        self.results = MemoryResults()
        self.policy = policy
        self.edited: set[int] = set()
        self.workers = 0
        self.promotions = self.killed()

    def holds(self, promotion_id: int, attempt: int) -> bool:
        """Tell whether a promotion still rolls out under this attempt, as the database does."""
        found = self.promotions.get(promotion_id)
        return (found.state, found.attempt) == (PromotionState.ROLLING_OUT, attempt)

    def killed(self) -> MemoryPromotions:
        """Let the lease run out and start another worker."""
        self.registry.log.clock.advance(60)
        self.workers += 1
        self.promotions = MemoryPromotions(self.shelf, owner=f"worker {self.workers}")
        return self.promotions

    def settle(self, model: str) -> None:
        """Bring marks and pointer along."""
        agree_marks(model, self.registry, self.registry.log, self.pointers, self.registry)
        reconcile_pointer(model, self.registry, self.pointers, self.registry.log)

    def verify(self, version: ModelVersion) -> None:
        """Find the files as they were judged, unless `edited` says otherwise."""
        if version.version in self.edited:
            raise ChangedModelError(f"version {version.version}: its files were changed after the gates had passed")

    def look(self) -> list[Promotion]:
        """What a worker does on a notification."""
        self.registry.log.clock.advance(1)
        self.settle("wine")
        end_overtaken("wine", self.registry, self.registry.log, self.promotions)
        return open_promotions("wine", self.registry, self.registry.log, self.promotions)

    def promoter(self) -> Promoter:
        """The use case on the twins."""
        return Promoter(
            view=self.registry,
            events=self.registry.log,
            registry=self.registry,
            promotions=self.promotions,
            evaluator=self.evaluator,
            results=self.results,
            policy=lambda _: self.policy,
            flipped=self.settle,
            verify=self.verify,
        )

    def work(self, cancelled: Callable[[], bool] = lambda: False) -> Promotion:
        """Look, claim, and bring the promotion as far as it goes."""
        self.look()
        claimed = self.promotions.claim()
        assert claimed is not None
        return self.promoter().advance(claimed, cancelled)

    def stages(self) -> list[str]:
        """Stage of each version, from the first."""
        return [one.stage.value for one in reversed(self.registry.versions("wine"))]


def with_versions(world: World) -> World:
    """Register three versions; the first is in Production."""
    for _ in range(3):
        world.registry.add("wine")
    world.registry.set_stage("wine", 1, Stage.PRODUCTION)
    world.look()
    return world
