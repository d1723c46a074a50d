"""What the audit trail says about a moment: which version was Production, who brought it there, on what evidence.

Pure rules over a chain's entries. Whether the entries can be believed is judged in `domain/audit.py`.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mlflow_ext.domain.audit import AuditAction, AuditEntry
from mlflow_ext.domain.events import RegistryEvent, RegistryEventKind
from mlflow_ext.domain.marks import weigh
from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import STAGE_OF_ALIAS, STAGE_TAG, ModelVersion, Stage

LATE = "late"
"""Detail of an entry that was made after the change that it tells of: when that was."""

_KINDS = {
    AuditAction.VERSION_REGISTERED: RegistryEventKind.VERSION,
    AuditAction.VERSION_STAGE: RegistryEventKind.STAGE,
    AuditAction.VERSION_DELETED: RegistryEventKind.VERSION,
    AuditAction.ALIAS_SET: RegistryEventKind.ALIAS,
    AuditAction.ALIAS_REMOVED: RegistryEventKind.ALIAS,
    AuditAction.TAG_SET: RegistryEventKind.TAG,
    AuditAction.TAG_REMOVED: RegistryEventKind.TAG,
}


@dataclass
class Marks:
    """The marks of a model's versions, as a trail leaves them.

    Attributes:
        stages: Stage by version; versions that the trail does not know are not in it.
        aliases: Version by alias.
        tags: Stage tag by version.
    """

    stages: dict[int, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    tags: dict[int, str] = field(default_factory=dict)

    def versions(self, model: str) -> list[ModelVersion]:
        """Give the versions with their marks."""
        return [
            ModelVersion(
                model=model,
                version=version,
                stage=Stage.parse(stage) or Stage.NONE,
                aliases=tuple(alias for alias, holder in self.aliases.items() if holder == version),
                tags={STAGE_TAG: self.tags[version]} if version in self.tags else {},
            )
            for version, stage in self.stages.items()
        ]


@dataclass(frozen=True, slots=True)
class InProduction:
    """The answer to "what was Production?".

    Attributes:
        version: Version in Production; `None` when none was.
        brought: Entry of the change that brought it there or, without a version, that withdrew the last one; `None`
            when the trail has none.
        steps: Entries of the promotion that led there, oldest first; empty when a person moved it by hand.
    """

    version: int | None
    brought: AuditEntry | None
    steps: tuple[AuditEntry, ...] = ()


def marks_of(entries: Iterable[AuditEntry]) -> Marks:
    """Replay a chain's entries, oldest first."""
    marks = Marks()
    for entry in in_order(entries):
        if entry.version is None:
            continue
        if entry.action == AuditAction.VERSION_DELETED:
            marks.stages.pop(entry.version, None)
        elif entry.action in _SETS_STAGE:
            marks.stages[entry.version] = entry.after or Stage.NONE
        elif entry.action == AuditAction.ALIAS_SET:
            marks.aliases[_key(entry)] = entry.version
        elif entry.action == AuditAction.ALIAS_REMOVED:
            marks.aliases.pop(_key(entry), None)
        elif entry.action == AuditAction.TAG_SET:
            marks.tags[entry.version] = entry.after or ""
        elif entry.action == AuditAction.TAG_REMOVED:
            marks.tags.pop(entry.version, None)
    return marks


def in_order(entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    """Give entries in the order of what they tell of: one that was made late stands before the newer changes."""
    found: list[AuditEntry] = []
    for entry in entries:
        place = len(found)
        if entry.event_id is not None and LATE in _details(entry):
            newer = (n for n, one in enumerate(found) if one.event_id is not None and one.event_id > entry.event_id)
            place = next(newer, place)
        found.insert(place, entry)
    return found


def differing(told: Marks, found: Marks) -> Iterator[str]:
    """Say how a registry's stages and aliases are not those that its trail tells of.

    A version that was there before the trail began is unknown to it as long as it is in no stage.
    """
    for version in sorted(told.stages.keys() | found.stages.keys()):
        left = told.stages.get(version, Stage.NONE.value)
        if version not in found.stages:
            yield f"version {version} is gone, the trail left it in stage {left}"
        elif found.stages[version] != left:
            yield f"version {version} is in stage {found.stages[version]}, the trail left it in {left}"
    for alias in sorted(told.aliases.keys() | found.aliases.keys()):
        if told.aliases.get(alias) != found.aliases.get(alias):
            is_, was = (_version(marks.aliases.get(alias)) for marks in (found, told))
            yield f"the alias {alias} is at {is_}, the trail left it at {was}"


def in_production(model: str, entries: Sequence[AuditEntry]) -> InProduction:
    """Say what was Production after these entries.

    Args:
        model: Registered model.
        entries: Its entries up to the moment that is asked about, oldest first.
    """
    entries = in_order(entries)
    found = [move for move in map(_move, entries) if move is not None]
    # the order is what counts, and a late entry has a high number
    moves = [replace(move, id=place) for place, move in enumerate(found) if not move.ours][::-1]
    version = weigh(marks_of(entries).versions(model), moves, None).production
    brought = _brought(version, entries)
    return InProduction(version, brought, _steps(version, entries, brought))


def _brought(version: int | None, entries: Sequence[AuditEntry]) -> AuditEntry | None:
    """Find the first of the latest unbroken row of changes that say `version` is Production."""
    found = None
    for entry in reversed(entries):
        if _details(entry).get("agreement"):
            continue
        to_production, from_production = _says(entry)
        if version is None:
            if from_production:
                return entry
        elif to_production and entry.version == version:
            found = entry
        elif to_production or (from_production and entry.version == version):
            break
    return found


def _says(entry: AuditEntry) -> tuple[bool, bool]:
    """Tell whether a change brings its version to Production, and whether it takes one away."""
    if entry.action == AuditAction.ALIAS_SET:
        return STAGE_OF_ALIAS.get(_key(entry)) is Stage.PRODUCTION, False
    if entry.action == AuditAction.ALIAS_REMOVED:
        return False, STAGE_OF_ALIAS.get(_key(entry)) is Stage.PRODUCTION
    if entry.action in _MOVES or entry.action == AuditAction.TRAIL_OPENED:
        to, gone = Stage.parse(entry.after) is Stage.PRODUCTION, Stage.parse(entry.before) is Stage.PRODUCTION
        return to, gone and not to
    return False, False


def _steps(version: int | None, entries: Sequence[AuditEntry], brought: AuditEntry | None) -> tuple[AuditEntry, ...]:
    if version is None or brought is None:
        return ()
    state: dict[int, str | None] = {}
    for entry in entries:
        if entry.seq < brought.seq and entry.promotion_id is not None and entry.version == version:
            state[entry.promotion_id] = entry.after
    open_then = {PromotionState.ROLLING_OUT.value, PromotionState.PROMOTED.value}
    led = max((number for number, after in state.items() if after in open_then), default=None)
    return tuple(entry for entry in entries if led is not None and entry.promotion_id == led)


def _move(entry: AuditEntry) -> RegistryEvent | None:
    if entry.action not in _MOVES:
        return None
    details = _details(entry)
    return RegistryEvent(
        id=entry.seq,
        at=entry.at,
        model=entry.model,
        version=entry.version,
        kind=_KINDS[AuditAction(entry.action)],
        key=_key(entry),
        old=entry.before,
        new=entry.after,
        ours=bool(details.get("agreement")),
    )


def _key(entry: AuditEntry) -> str:
    return str(_details(entry).get("key", ""))


def _details(entry: AuditEntry) -> dict[str, object]:
    details = json.loads(entry.details)
    return details if isinstance(details, dict) else {}


def _version(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"


_MOVES = frozenset(action.value for action in _KINDS)
_SETS_STAGE = frozenset({AuditAction.TRAIL_OPENED, AuditAction.VERSION_REGISTERED, AuditAction.VERSION_STAGE})
