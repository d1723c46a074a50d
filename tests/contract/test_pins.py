"""The `Pins` port: what a promotion's step kept, in memory and on PostgreSQL."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlalchemy import Engine, text

from mlflow_ext.domain.pins import FileDigest, Manifest
from mlflow_ext.domain.promotion import Promotion, PromotionEvent
from mlflow_ext.errors import ConflictError
from mlflow_ext.ports import Pins, Promotions
from mlflow_ext.store.pins import SqlPins
from mlflow_ext.store.promotions import SqlPromotions
from mlflow_ext.testing import MemoryPins, MemoryPromotions

FILES = Manifest.of([FileDigest("model.skops", 4, "ab"), FileDigest("MLmodel", 2, "cd")])
OTHERS = Manifest.of([FileDigest("MLmodel", 2, "ef")])


@dataclass
class Bench:
    """Pins, and the promotions that write them."""

    pins: Pins
    promotions: Promotions
    engine: Engine | None = None

    def judged(self, cause: str) -> Promotion:
        """Open a promotion and claim it."""
        self.promotions.request("wine", 3, source="test", cause=cause)
        claimed = self.promotions.claim()
        assert claimed is not None
        return claimed


@pytest.fixture(params=["twin", "postgresql"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """The same bench on the twins and on the real store."""
    if request.param == "twin":
        promotions = MemoryPromotions()
        return Bench(MemoryPins(promotions.shelf), promotions)
    engine = request.getfixturevalue("engine")
    return Bench(SqlPins(engine), SqlPromotions(engine, owner="one"), engine)


def test_files_are_pinned_with_the_step_that_passed_the_gates(bench: Bench) -> None:
    """The pin names the files and the promotion, and is found by version and among the model's."""
    assert bench.pins.get("wine", 3) is None
    assert bench.pins.manifest("wine", 3) is None
    promotion = bench.judged("first")
    bench.promotions.record(promotion, PromotionEvent.GATES_PASSED, values={"pin": FILES})
    pin = bench.pins.get("wine", 3)
    assert pin is not None
    assert (pin.manifest, pin.promotion_id) == (FILES, promotion.id)
    assert pin.pinned_at is not None
    assert bench.pins.manifest("wine", 3) == FILES
    assert bench.pins.of("wine") == {3: FILES.digest}
    assert bench.pins.of("beer") == {}


def test_a_step_that_is_refused_pins_nothing(bench: Bench) -> None:
    """A worker that comes too late changes neither the promotion nor the pin."""
    promotion = bench.judged("first")
    bench.promotions.record(promotion, PromotionEvent.GATES_FAILED)
    with pytest.raises(ConflictError):
        bench.promotions.record(promotion, PromotionEvent.GATES_PASSED, values={"pin": FILES})
    assert bench.pins.of("wine") == {}


def test_a_later_promotion_of_the_same_version_pins_anew(bench: Bench) -> None:
    """Whoever has a version judged again gets the pin of what was judged last."""
    ends: list[Callable[[Promotion], Promotion]] = [
        lambda promotion: bench.promotions.record(promotion, PromotionEvent.PUBLISHED),
        lambda promotion: promotion,
    ]
    for files, end in zip((FILES, OTHERS), ends, strict=True):
        promotion = bench.judged(files.digest)
        end(bench.promotions.record(promotion, PromotionEvent.GATES_PASSED, values={"pin": files}))
    assert bench.pins.of("wine") == {3: OTHERS.digest}


def test_a_pin_follows_a_renamed_model_and_goes_with_a_deleted_one(engine: Engine) -> None:
    """A new name is no way around a pin; another model under a freed name begins without pins."""
    bench = Bench(SqlPins(engine), SqlPromotions(engine, owner="one"))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO registered_models (name, workspace) VALUES ('wine', 'default')"))
        connection.execute(
            text(
                "INSERT INTO model_versions (name, version, workspace, current_stage, creation_time) "
                "VALUES ('wine', 3, 'default', 'None', 0)"
            )
        )
    bench.promotions.record(bench.judged("first"), PromotionEvent.GATES_PASSED, values={"pin": FILES})
    with engine.begin() as connection:
        connection.execute(text("UPDATE registered_models SET name = 'port' WHERE name = 'wine'"))
    assert bench.pins.of("wine") == {}
    assert bench.pins.of("port") == {3: FILES.digest}
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM model_versions WHERE name = 'port'"))
    assert bench.pins.of("port") == {}


def test_a_difference_is_told_in_a_few_words() -> None:
    """People see which files changed, came and went."""
    many = Manifest.of([FileDigest("MLmodel", 3, "ff"), *(FileDigest(f"new{n}", 1, "00") for n in range(5))])
    assert FILES.difference(FILES) == ""
    assert FILES.difference(many) == ("changed: MLmodel; added: new0, new1, new2 and 2 more; missing: model.skops")
