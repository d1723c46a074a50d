"""How marks are weighed: which stage each version is in when stage, alias and tag do not say the same, as pure rules.

Reading and writing the marks lives in `lifecycle/reconcile.py`. The rule: for each version the mark that moved last
counts, by the order of the registry events; the latest move to Production wins Production, whoever held it is archived.
Versions without events (no triggers, or moved before there were any) are judged by their marks alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlflow_ext.domain.events import RegistryEvent, RegistryEventKind
from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import STAGE_OF_ALIAS, STAGE_TAG, Mark, ModelVersion, Stage


@dataclass(frozen=True, slots=True)
class Standing:
    """Which stage each version of a model is in, all marks weighed.

    Attributes:
        stages: Stage by version number.
    """

    stages: dict[int, Stage]

    @property
    def production(self) -> int | None:
        """The version in Production."""
        return next((version for version, stage in self.stages.items() if stage is Stage.PRODUCTION), None)

    @property
    def staging(self) -> int | None:
        """The newest version in Staging: the alias `staging` names one only."""
        return max((version for version, stage in self.stages.items() if stage is Stage.STAGING), default=None)


@dataclass(frozen=True, slots=True)
class Change:
    """One mark to be moved.

    Attributes:
        mark: Which kind.
        version: Version it is moved on, or moved to, or taken from.
        key: Alias or tag key; empty for the stage.
        value: New stage, tag value or version of an alias; `None` removes it.
    """

    mark: Mark
    version: int
    key: str
    value: str | None


def weigh(versions: Sequence[ModelVersion], moves: Sequence[RegistryEvent], pointer: ServingPointer | None) -> Standing:
    """Say which stage each version is in.

    Args:
        versions: All live versions of a model.
        moves: Events that moved marks, newest first, read together with `versions`.
        pointer: What is served: tells a newcomer from what was there before where no event does.
    """
    stages: dict[int, Stage] = {}
    ranks: dict[int, tuple[int, ...]] = {}
    for version in versions:
        moved, stages[version.version] = next(_words(version, moves), (0, _by_marks_alone(version)))
        ranks[version.version] = (moved, *_newcomer_rank(version, pointer))
    contenders = [version for version, stage in stages.items() if stage is Stage.PRODUCTION]
    winner = max(contenders, key=ranks.__getitem__, default=None)
    for loser in contenders:
        if loser != winner:
            stages[loser] = Stage.ARCHIVED
    return Standing(stages)


def changes(versions: Sequence[ModelVersion], standing: Standing) -> list[Change]:
    """List what must be moved so that every mark says what `standing` says; empty when all agree.

    Stages come first, Production before all others (the same transition archives its predecessor, so that there is
    always a version in Production), then aliases, then tags.
    """
    return [*_stage_changes(versions, standing), *_alias_changes(versions, standing), *_tag_changes(versions, standing)]


def _stage_changes(versions: Sequence[ModelVersion], standing: Standing) -> list[Change]:
    now = {version.version: version.stage for version in versions}
    found = []
    production = standing.production
    if production is not None and now[production] is not Stage.PRODUCTION:
        found.append(Change(Mark.STAGE, production, "", Stage.PRODUCTION.value))
        # the same transition archives whatever was there
        now = {version: Stage.ARCHIVED if stage is Stage.PRODUCTION else stage for version, stage in now.items()}
        now[production] = Stage.PRODUCTION
    return found + [
        Change(Mark.STAGE, version, "", standing.stages[version].value)
        for version, stage in now.items()
        if stage is not standing.stages[version]
    ]


def _alias_changes(versions: Sequence[ModelVersion], standing: Standing) -> list[Change]:
    found = []
    for alias, wanted in (("production", standing.production), ("staging", standing.staging)):
        holder = next((version.version for version in versions if alias in version.aliases), None)
        if wanted is not None and wanted != holder:
            found.append(Change(Mark.ALIAS, wanted, alias, str(wanted)))
        if wanted is None and holder is not None:
            found.append(Change(Mark.ALIAS, holder, alias, None))
    return found


def _tag_changes(versions: Sequence[ModelVersion], standing: Standing) -> list[Change]:
    found = []
    for version in versions:
        stage = standing.stages[version.version]
        wanted = None if stage is Stage.NONE else stage.value
        given = version.tags.get(STAGE_TAG)
        users_own = wanted is None and given is not None and Stage.parse(given) is None
        if given != wanted and not users_own:
            found.append(Change(Mark.TAG, version.version, STAGE_TAG, wanted))
    return found


def _words(version: ModelVersion, moves: Sequence[RegistryEvent]) -> Iterator[tuple[int, Stage]]:
    for move in moves:
        stage = _word(version, move)
        if stage is not None:
            yield move.id, stage


def _word(version: ModelVersion, move: RegistryEvent) -> Stage | None:
    """Read what a move says about the version; `None` when it does not concern it.

    The value comes from the event, not from the mark: our own agreement may have overwritten it a moment later.
    """
    if move.kind is RegistryEventKind.ALIAS and move.key in STAGE_OF_ALIAS:
        stage = STAGE_OF_ALIAS[move.key]
        held = version.stage_by(Mark.ALIAS)
        if move.new == str(version.version):
            return Stage.PRODUCTION if held is Stage.PRODUCTION else stage
        if move.old != str(version.version):
            return None
        if stage is Stage.STAGING and move.new is not None:
            # several versions may be in Staging, and the alias can name only one: losing it to another says nothing
            return None
        return held or _without(version, stage)
    if move.version != version.version:
        return None
    if move.kind is RegistryEventKind.STAGE:
        return Stage.parse(move.new) or Stage.NONE
    if move.kind is RegistryEventKind.TAG and move.key == STAGE_TAG:
        former = Stage.parse(move.old)
        if move.new is None and former is not None:
            return _without(version, former)
        return Stage.parse(move.new)
    return None


def _without(version: ModelVersion, former: Stage) -> Stage:
    """Say where a version is when the mark that put it into `former` was taken away."""
    if version.stage is not former:
        return version.stage
    return Stage.ARCHIVED if former is Stage.PRODUCTION else Stage.NONE


def _by_marks_alone(version: ModelVersion) -> Stage:
    """Judge without events: two marks that agree were there before, the odd one moved; in doubt stage, alias, tag."""
    stage, alias, tag = version.stage, version.stage_by(Mark.ALIAS), version.stage_by(Mark.TAG)
    if alias is not None and tag is not None and alias is stage:
        return tag
    if alias is not None and (tag or Stage.NONE) is stage:
        return alias
    if stage is Stage.NONE:
        return alias or tag or Stage.NONE
    return stage


def _newcomer_rank(version: ModelVersion, pointer: ServingPointer | None) -> tuple[int, ...]:
    """Rank contenders for Production without events: the higher, the more likely it is the one that was moved there."""
    says = [version.stage_by(mark) is Stage.PRODUCTION for mark in (Mark.STAGE, Mark.ALIAS, Mark.TAG)]
    served, previous = (pointer.version, pointer.previous_version) if pointer else (None, None)
    known = {served: 1, previous: 0}.get(version.version, 2)
    return (-sum(says), known, -says.index(True) if True in says else -3, version.version)
