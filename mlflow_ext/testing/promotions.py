"""The twin of `store/promotions.py`. Several workers share one `PromotionShelf`, as they would share the database."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any

from mlflow_ext.domain.approval import Approval
from mlflow_ext.domain.pins import Manifest, Pin
from mlflow_ext.domain.promotion import (
    KEEPS_REASON,
    OVERRIDABLE,
    Promotion,
    PromotionEvent,
    PromotionState,
    leaves_worker,
    next_state,
)
from mlflow_ext.errors import ConflictError, NotFoundError, PromotionInProgressError
from mlflow_ext.policy import ModelPolicy

_SETTABLE = frozenset({"report", "champion_version", "policy_hash", "run_id", "registry_at", "override_reason"})


@dataclass
class PromotionShelf:
    """What the database would hold.

    Attributes:
        now: What time it is; a test hands in a clock that it moves.
        rows: Promotions by number.
        causes: Number of the promotion that a cause opened.
        leases: Who holds a promotion, until when.
        stories: Steps by promotion.
        policies: Policy documents by digest.
        approvals: Words of people, by promotion.
        authors: Who made a version, as actors.
        pins: Files that passed the gates, by model and version.
        lock: Held for each change.
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    rows: dict[int, Promotion] = field(default_factory=dict)
    causes: dict[tuple[str, int, str], int] = field(default_factory=dict)
    leases: dict[int, tuple[str | None, datetime]] = field(default_factory=dict)
    stories: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    pins: dict[tuple[str, int], Pin] = field(default_factory=dict)
    approvals: dict[int, list[Approval]] = field(default_factory=dict)
    authors: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    lock: RLock = field(default_factory=RLock)


class MemoryPromotions:
    """The `Promotions` port in memory, as one worker sees it."""

    def __init__(self, shelf: PromotionShelf | None = None, *, owner: str = "worker", lease_s: float = 30.0) -> None:
        """Take the shelf that workers share, this worker's name and its lease in seconds."""
        self.shelf = shelf or PromotionShelf()
        self._owner = owner
        self._lease = timedelta(seconds=lease_s)

    def request(
        self, model: str, version: int, *, source: str, cause: str, requested_by: str = "", dry_run: bool = False
    ) -> Promotion:
        """Open a promotion; the same cause again gives the promotion that it opened before."""
        with self.shelf.lock:
            known = self.shelf.causes.get((model, version, cause))
            if known is not None:
                return self.shelf.rows[known]
            if self.find(model, version=version, open_only=True):
                raise PromotionInProgressError(f"version {version} of {model} already has an open promotion")
            now = self.shelf.now()
            promotion = Promotion(
                id=len(self.shelf.rows) + 1,
                model=model,
                version=version,
                state=PromotionState.REQUESTED,
                source=source,
                requested_by=requested_by,
                dry_run=dry_run,
                created_at=now,
                updated_at=now,
            )
            self.shelf.causes[model, version, cause] = promotion.id
            return self._store(promotion, "requested", f"asked for by {source}")

    def override(
        self,
        model: str,
        version: int,
        *,
        source: str,
        cause: str,
        requested_by: str,
        reason: str,
        champion: int | None,
    ) -> Promotion:
        """Send the open promotion of a version past its gates, or open one that is past them."""
        with self.shelf.lock:
            known = self.shelf.causes.get((model, version, cause))
            if known is not None:
                return self.shelf.rows[known]
            is_open = self.find(model, version=version, open_only=True)
            if is_open and is_open[0].dry_run:
                raise PromotionInProgressError(f"version {version} of {model} already has an open promotion")
            if is_open:
                found = is_open[0]
            else:
                found = self.request(model, version, source=source, cause=cause, requested_by=requested_by)
            if found.state not in OVERRIDABLE:
                return found
            note = f"past its gates, by {requested_by}: {reason}"
            values = {"override_reason": reason, "champion_version": champion}
            return self.record(found, PromotionEvent.OVERRIDE, note=note, values=values)

    def get(self, promotion_id: int) -> Promotion:
        """Give one promotion."""
        if promotion_id not in self.shelf.rows:
            raise NotFoundError(f"there is no promotion {promotion_id}")
        return self.shelf.rows[promotion_id]

    def find(
        self, model: str | None = None, *, version: int | None = None, open_only: bool = False, limit: int = 100
    ) -> list[Promotion]:
        """Give promotions, newest first."""
        found = [
            row
            for row in self.shelf.rows.values()
            if (model is None or row.model == model)
            and (version is None or row.version == version)
            and (row.state.is_open or not open_only)
        ]
        return sorted(found, key=lambda row: -row.id)[:limit]

    def open_versions(self, model: str) -> list[int]:
        """Give the versions that may come to Production by an open promotion, the newest promotion first."""
        found = self.find(model, open_only=True, limit=len(self.shelf.rows))
        return [promotion.version for promotion in found if not promotion.dry_run]

    def claim(self) -> Promotion | None:
        """Take the oldest promotion that nobody holds; those that only wait to be published come first."""
        for states in (
            {PromotionState.ROLLING_OUT},
            {PromotionState.REQUESTED, PromotionState.EVALUATING},
        ):
            with self.shelf.lock:
                now = self.shelf.now()
                for row in sorted(self.shelf.rows.values(), key=lambda row: row.id):
                    if row.state in states and self.shelf.leases.get(row.id, ("", now))[1] <= now:
                        self.shelf.leases[row.id] = (self._owner, now + self._lease)
                        state = next_state(row.state, PromotionEvent.CLAIM)
                        claimed = replace(row, state=state, attempt=row.attempt + 1, updated_at=now)
                        return self._store(claimed, PromotionEvent.CLAIM, f"taken by worker {self._owner}")
        return None

    def renew(self, promotion: Promotion) -> bool:
        """Go on holding it; False when somebody else took it over or ended it."""
        with self.shelf.lock:
            if not self._holds(promotion):
                return False
            self.shelf.leases[promotion.id] = (self._owner, self.shelf.now() + self._lease)
            return True

    def record(
        self,
        promotion: Promotion,
        event: PromotionEvent,
        *,
        note: str = "",
        values: Mapping[str, Any] | None = None,
        unheld: bool = False,
    ) -> Promotion:
        """Apply an event, with its line of the story."""
        state = next_state(promotion.state, event)
        columns = dict(values or {})
        files: Manifest | None = columns.pop("pin", None)
        if not set(columns) <= _SETTABLE:
            raise TypeError(f"a promotion's step cannot set {', '.join(sorted(set(columns) - _SETTABLE))}")
        with self.shelf.lock:
            row = self.get(promotion.id)
            if (row.state, row.attempt) != (promotion.state, promotion.attempt):
                raise ConflictError(f"promotion {promotion.id} was changed or taken over by somebody else")
            if unheld and self._is_held(row):
                raise ConflictError(f"promotion {promotion.id} is held by a worker")
            if leaves_worker(event, state):
                self.shelf.leases.pop(promotion.id, None)
                if event not in KEEPS_REASON:
                    columns["reason"] = note
            if files is not None:
                pin = Pin(promotion.model, promotion.version, files, promotion.id, self.shelf.now())
                self.shelf.pins[promotion.model, promotion.version] = pin
            return self._store(replace(row, state=state, updated_at=self.shelf.now(), **columns), event, note)

    def postpone(self, promotion: Promotion, delay_s: float, *, event: str, note: str) -> None:
        """Let go until later, with a line of the story unless it would repeat the last one."""
        with self.shelf.lock:
            if not self._holds(promotion):
                return
            self.shelf.leases[promotion.id] = (None, self.shelf.now() + timedelta(seconds=delay_s))
            told = [step for step in self.shelf.stories[promotion.id] if step["event"] != PromotionEvent.CLAIM]
            if (told[-1]["event"], told[-1]["note"]) != (event, note):
                self._tell(promotion, event, note)

    def note_policy(self, model: str, policy: ModelPolicy) -> None:
        """Keep a policy under its digest."""
        self.shelf.policies.setdefault(policy.digest, policy.model_dump(mode="json"))

    def story(self, promotion_id: int) -> Sequence[Mapping[str, Any]]:
        """Give the steps so far, oldest first."""
        return list(self.shelf.stories.get(promotion_id, []))

    def _holds(self, promotion: Promotion) -> bool:
        row = self.shelf.rows[promotion.id]
        return row.attempt == promotion.attempt and self.shelf.leases.get(row.id, (None,))[0] == self._owner

    def _is_held(self, promotion: Promotion) -> bool:
        owner, until = self.shelf.leases.get(promotion.id, (None, self.shelf.now()))
        return owner is not None and until > self.shelf.now()

    def _store(self, promotion: Promotion, event: str, note: str) -> Promotion:
        self.shelf.rows[promotion.id] = promotion
        self._tell(promotion, event, note)
        return promotion

    def _tell(self, promotion: Promotion, event: str, note: str) -> None:
        step = {"at": self.shelf.now(), "event": str(event), "state": promotion.state.value, "note": note}
        self.shelf.stories.setdefault(promotion.id, []).append(step)
