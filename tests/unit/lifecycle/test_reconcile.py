"""Agreement of marks and the pointer, over random moves of marks on the twins."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_ext.domain.stages import STAGE_TAG, Stage
from mlflow_ext.errors import ConflictError
from mlflow_ext.lifecycle.reconcile import agree_marks, reconcile_pointer
from mlflow_ext.testing import MemoryPointers, MemoryRegistry

MODEL = "wine"
VERSIONS = 4

stages = st.sampled_from(Stage)
numbers = st.integers(1, VERSIONS)
moves = st.one_of(
    st.tuples(st.just("stage"), numbers, stages),
    st.tuples(st.just("tag"), numbers, st.sampled_from(["Production", "staging", "Archived", "None", "mine", None])),
    st.tuples(st.just("alias"), st.none() | numbers, st.sampled_from(["production", "staging", "best"])),
)


@dataclass
class World:
    """A model with its marks, and what is served."""

    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    pointers: MemoryPointers = field(default_factory=MemoryPointers)

    def __post_init__(self) -> None:
        for _ in range(VERSIONS):
            self.registry.add(MODEL)

    def move(self, move: tuple[str, int | None, str | None]) -> None:
        """Do what a person does; SQL may leave two versions in Production, so the stage is put without archiving."""
        kind, version, value = move
        if kind == "stage" and version is not None:
            self.registry._put_stage(self.registry.version(MODEL, version), Stage(str(value)))
        elif kind == "tag" and version is not None and value is not None:
            self.registry.set_tags(MODEL, version, {STAGE_TAG: value})
        elif kind == "tag" and version is not None:
            self.registry.delete_tag(MODEL, version, STAGE_TAG)
        elif version is not None:
            self.registry.set_alias(MODEL, str(value), version)
        else:
            self.registry.delete_alias(MODEL, str(value))

    def agree(self) -> int:
        """Bring the marks into agreement; the value is the number of changes."""
        return len(agree_marks(MODEL, self.registry, self.registry.log, self.pointers, self.registry))

    def follow(self) -> int | None:
        """Move the pointer."""
        pointer = reconcile_pointer(MODEL, self.registry, self.pointers, self.registry.log)
        return pointer.version if pointer else None

    def production(self) -> list[set[int]]:
        """Versions in Production by stage, by alias and by tag."""
        found = self.registry.versions(MODEL)
        return [
            {v.version for v in found if v.stage is Stage.PRODUCTION},
            {v.version for v in found if "production" in v.aliases},
            {v.version for v in found if v.tags.get(STAGE_TAG) == "Production"},
        ]


@settings(max_examples=300, deadline=None)
@given(st.lists(moves, max_size=12), st.booleans())
def test_all_marks_name_the_same_version_and_stay(
    sequence: list[tuple[str, int | None, str | None]], at_once: bool
) -> None:
    """After agreement: at most one Production, the same by every mark and in the pointer, nothing left to change."""
    world = World()
    for move in sequence:
        world.move(move)
        if not at_once:
            world.agree()
    followed = world.follow()
    world.agree()
    by_stage, by_alias, by_tag = world.production()
    assert by_stage == by_alias == by_tag
    assert len(by_stage) <= 1
    assert followed == world.follow() == next(iter(by_stage), None)
    assert world.agree() == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(moves, max_size=8), numbers, st.sampled_from(["stage", "alias", "tag"]))
def test_the_last_move_to_production_wins(
    sequence: list[tuple[str, int | None, str | None]], target: int, kind: str
) -> None:
    """Whatever happened before, agreed or not: a version that any mark now puts into Production is in Production."""
    world = World()
    for move in sequence:
        world.move(move)
    before = world.production()[("stage", "alias", "tag").index(kind)]
    world.move((kind, target, "production" if kind == "alias" else "Production"))
    world.agree()
    if target not in before:  # else nothing moved
        assert world.production() == [{target}] * 3


@settings(max_examples=200, deadline=None)
@given(numbers, st.sampled_from(["stage", "alias", "tag"]), st.sampled_from(["stage", "alias", "tag"]))
def test_withdrawing_production_by_any_mark_leaves_nothing_in_production(target: int, by: str, withdrawn: str) -> None:
    """Archived, alias deleted or tag removed: no version is served."""
    world = World()
    world.move((by, target, "production" if by == "alias" else "Production"))
    world.agree()
    assert world.follow() == target
    world.move(
        {"stage": ("stage", target, "Archived"), "alias": ("alias", None, "production"), "tag": ("tag", target, None)}[
            withdrawn
        ]
    )
    assert world.follow() is None
    world.agree()
    assert world.production() == [set()] * 3
    assert world.registry.version(MODEL, target).stage is Stage.ARCHIVED
    assert world.follow() is None


def test_nothing_marked_makes_no_pointer() -> None:
    """A model that never had a version in Production has no pointer."""
    world = World()
    assert world.follow() is None
    assert world.pointers.all() == []


def test_without_events_the_pointer_follows_and_does_not_swing() -> None:
    """Polling only: the alias moves, the pointer follows it, and stays before and after agreement."""
    world = World()
    world.move(("stage", 1, "Production"))
    assert world.follow() == 1
    world.move(("alias", 2, "production"))
    world.registry.log.events.clear()
    assert [world.follow(), world.follow()] == [2, 2]
    world.agree()
    world.registry.log.events.clear()
    assert world.follow() == 2
    assert world.production() == [{2}] * 3
    assert world.agree() == 0


@settings(max_examples=300, deadline=None)
@given(
    st.lists(moves, max_size=6),
    st.dictionaries(st.integers(1, 12), st.tuples(st.sampled_from(["stage", "alias", "tag"]), numbers), max_size=4),
)
def test_a_person_who_moves_marks_during_agreement_wins(
    sequence: list[tuple[str, int | None, str | None]], interruptions: dict[int, tuple[str, int]]
) -> None:
    """Marks are moved to Production right before writes of the agreement, after its last look: the last one stands."""
    world = World()
    for move in sequence:
        world.move(move)
    world.move(("stage", 1, "None"))
    between = Interrupting(world, interruptions)
    agree_marks(MODEL, world.registry, world.registry.log, world.pointers, between)
    world.agree()
    by_stage, by_alias, by_tag = world.production()
    assert by_stage == by_alias == by_tag
    if between.last is not None:
        assert by_stage == {between.last}


class Interrupting:
    """A registry that lets somebody else put a version into Production right before some of its writes."""

    def __init__(self, world: World, interruptions: dict[int, tuple[str, int]]) -> None:
        self._world = world
        self._interruptions = interruptions
        self._writes = 0
        self.last: int | None = None

    def __getattr__(self, name: str) -> object:
        if name == "agreeing":
            return self._world.registry.agreeing
        self._writes += 1
        if self._writes in self._interruptions:
            kind, version = self._interruptions[self._writes]
            before = len(self._world.registry.log.events)
            self._world.registry.log.ours = False  # somebody else's process
            self._world.move((kind, version, "production" if kind == "alias" else "Production"))
            self._world.registry.log.ours = True
            if len(self._world.registry.log.events) > before:  # else it was there already, and nothing moved
                self.last = version
        return getattr(self._world.registry, name)


def test_losing_the_race_for_the_pointer_is_fine() -> None:
    """Somebody else moved the pointer meanwhile: what they published is given back."""
    world = World()
    world.move(("stage", 1, "Production"))

    class Late(MemoryPointers):
        def move(self, *_: object, **__: object) -> None:  # type: ignore[override]
            MemoryPointers.move(self, MODEL, 1, seen_generation=0, reason="somebody else")
            raise ConflictError("late")

    pointer = reconcile_pointer(MODEL, world.registry, Late(), world.registry.log)
    assert pointer is not None
    assert (pointer.version, pointer.generation) == (1, 1)
