"""The `Pointers` port: compare-and-set on the generation, in memory and on PostgreSQL."""

import threading

import pytest
from sqlalchemy import Engine

from mlflow_ext.errors import ConflictError
from mlflow_ext.ports import Pointers
from mlflow_ext.store.pointers import SqlPointers
from mlflow_ext.testing import MemoryPointers


@pytest.fixture(params=["twin", "postgresql"])
def pointers(request: pytest.FixtureRequest) -> Pointers:
    """The twin, and the real adapter."""
    return MemoryPointers() if request.param == "twin" else SqlPointers(request.getfixturevalue("engine"))


def test_moves_count_generations_and_remember_the_former_version(pointers: Pointers) -> None:
    """Each move raises the generation by one; `None` serves nothing."""
    assert pointers.get("wine") is None
    moved = [
        pointers.move("wine", version, seen_generation=seen, reason="test") for seen, version in enumerate([1, 2, None])
    ]
    assert [(p.version, p.generation, p.previous_version) for p in moved] == [(1, 1, None), (2, 2, 1), (None, 3, 2)]
    assert pointers.get("wine") == moved[-1]
    assert pointers.all() == [moved[-1]]
    assert moved[-1].moved_at is not None


@pytest.mark.parametrize("seen", [0, 2, 9])
def test_a_move_on_a_stale_generation_is_refused(pointers: Pointers, seen: int) -> None:
    """Whoever decided on an old state changes nothing."""
    first = pointers.move("wine", 1, seen_generation=0, reason="test")
    with pytest.raises(ConflictError):
        pointers.move("wine", 2, seen_generation=seen, reason="late")
    assert pointers.get("wine") == first


def test_a_pointer_cannot_be_moved_before_it_exists(pointers: Pointers) -> None:
    """A generation above 0 names a pointer that somebody has seen."""
    with pytest.raises(ConflictError):
        pointers.move("wine", 1, seen_generation=1, reason="test")


def test_one_of_many_concurrent_moves_wins(engine: Engine) -> None:
    """Eight writers with the same generation: one move, seven conflicts."""
    pointers = SqlPointers(engine)
    outcomes: list[str] = []

    def move(version: int) -> None:
        try:
            pointers.move("wine", version, seen_generation=0, reason="race")
            outcomes.append("moved")
        except ConflictError:
            outcomes.append("conflict")

    threads = [threading.Thread(target=move, args=(version,)) for version in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 7 + ["moved"]


def test_one_at_a_time_holds_a_model(pointers: Pointers) -> None:
    """A second holder waits for the first; another model is free, and so are moves."""
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with pointers.hold("wine"):
            order.append("second")

    thread = threading.Thread(target=second)
    with pointers.hold("wine"):
        thread.start()
        entered.wait()
        pointers.move("wine", 1, seen_generation=0, reason="test")
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
