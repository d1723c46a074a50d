"""The seams, as Protocols. Each has a real adapter, a twin in `testing.py` and one contract suite for both."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from mlflow_ext.domain.approval import Approval
from mlflow_ext.domain.events import RegistryEvent
from mlflow_ext.domain.gates import GateReport
from mlflow_ext.domain.pins import Manifest, Pin
from mlflow_ext.domain.promotion import Promotion, PromotionEvent
from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import ModelVersion, Stage
from mlflow_ext.policy import ModelPolicy


class Clock(Protocol):
    """What time it is on this machine; the database's time decides leases and slots."""

    def now(self) -> datetime:
        """Give the time, with a time zone."""
        ...


class RegistryView(Protocol):
    """Read-only look at the registry's present state, in one round trip (PostgreSQL: MLflow's tables by SQL)."""

    def moment(self) -> AbstractContextManager[None]:
        """Let everything that this thread reads inside, through any port of the same database, be of one moment."""
        ...

    def models(self) -> list[str]:
        """Name every registered model that has at least one version, by name; prompts are left out."""
        ...

    def versions(self, model: str) -> list[ModelVersion]:
        """Give all live versions of a model with their marks, newest first; empty for an unknown model."""
        ...

    def version(self, model: str, version: int) -> ModelVersion:
        """Give one version.

        Raises:
            NotFoundError: There is no such version.
        """
        ...


class Registry(Protocol):
    """Changes to MLflow's registry, through MLflow's API (adapter: `registry/client.py`).

    Every method raises `NotFoundError` for what does not exist and `UnavailableError` when MLflow does not answer.
    """

    def agreeing(self) -> AbstractContextManager[None]:
        """Mark the writes inside, of this thread, as agreement of marks: their events are `ours`, no person's word."""
        ...

    def claiming(self, promotion_id: int, attempt: int) -> AbstractContextManager[None]:
        """Let the stages that are set inside, by this thread, be set only while this claim on the promotion holds.

        Where it does not, because somebody else has taken the promotion over or ended it, `set_stage` raises
        `ConflictError`. An MLflow server without our plugin does not look.
        """
        ...

    def set_stage(self, model: str, version: int, stage: Stage) -> None:
        """Move a version; a former version in Staging stays, a former one in Production is archived."""
        ...

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        ...

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias; nothing happens when it is not there."""
        ...

    def set_tags(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set version tags."""
        ...

    def delete_tag(self, model: str, version: int, key: str) -> None:
        """Remove a version tag; nothing happens when it is not there."""
        ...

    def set_description(self, model: str, version: int, text: str) -> None:
        """Replace a version's description (Markdown)."""
        ...


class EventLog(Protocol):
    """The outbox that the registry triggers fill (adapter: `store/events.py`)."""

    def read(self, consumer: str, limit: int = 500) -> list[RegistryEvent]:
        """Give events past the consumer's cursor, in order, without those a running transaction may still precede."""
        ...

    def advance(self, consumer: str, last: RegistryEvent) -> None:
        """Move the consumer's cursor to this event."""
        ...

    def latest(self, model: str) -> list[RegistryEvent]:
        """Give the newest events that moved a mark of this model, newest first (at most 200).

        Marks are the stage, the aliases in `STAGE_OF_ALIAS` and the tag `STAGE_TAG`.
        """
        ...

    def now(self) -> datetime:
        """Give the time by the clock that dates the events: the machine's own may be another."""
        ...


class Notifications(Protocol):
    """LISTEN/NOTIFY with the polling safety net (adapter: `store/notifications.py`)."""

    def listen(self, timeout_s: float) -> AbstractContextManager[Iterator[str | None]]:
        """Yield model names as they change, and `None` when everything is to be looked at.

        `None` comes first, after a lost connection is back, after `wake()`, and when `timeout_s` passed without news.
        """
        ...

    def wake(self) -> None:
        """End the present wait at once, from another thread or a signal handler."""
        ...


class Pointers(Protocol):
    """Which version of each model is served (adapter: `store/pointers.py`)."""

    def all(self) -> list[ServingPointer]:
        """Give every pointer."""
        ...

    def get(self, model: str) -> ServingPointer | None:
        """Give one model's pointer."""
        ...

    def move(self, model: str, version: int | None, *, seen_generation: int, reason: str) -> ServingPointer:
        """Compare-and-set, and notify the replicas.

        Args:
            model: Registered model.
            version: New version, or `None` to serve nothing.
            seen_generation: Generation the caller decided on; 0 for a model without a pointer.
            reason: Why, in a few words.

        Raises:
            ConflictError: Somebody moved it since.
        """
        ...

    def hold(self, model: str) -> AbstractContextManager[None]:
        """Let one process at a time bring this model's marks into agreement; others wait.

        Moving marks and pointers stays free for everybody.

        Raises:
            UnavailableError: Somebody else held it for too long.
        """
        ...


class Promotions(Protocol):
    """The promotions and their story (adapter: `store/promotions.py`)."""

    def request(
        self, model: str, version: int, *, source: str, cause: str, requested_by: str = "", dry_run: bool = False
    ) -> Promotion:
        """Open a promotion; the same `cause` again gives the promotion that it opened before.

        Raises:
            PromotionInProgressError: The version has an open promotion for another cause.
        """
        ...

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
        """Send the open promotion of a version past its gates, or open one that is past them; in one transaction.

        Args:
            model: Registered model.
            version: Candidate.
            source: As `request` takes it.
            cause: As `request` takes it: the same again changes nothing.
            requested_by: Who takes the responsibility.
            reason: Why.
            champion: Version in Production that is to be replaced; another one that comes later outranks the override.

        Returns:
            The promotion; one that rolls out already is left as it is.

        Raises:
            PromotionInProgressError: The version has an open dry run.
        """
        ...

    def get(self, promotion_id: int) -> Promotion:
        """Give one promotion.

        Raises:
            NotFoundError: There is none with this number.
        """
        ...

    def find(
        self, model: str | None = None, *, version: int | None = None, open_only: bool = False, limit: int = 100
    ) -> list[Promotion]:
        """Give promotions, newest first."""
        ...

    def open_versions(self, model: str) -> list[int]:
        """Give the versions that may come to Production by an open promotion, the newest promotion first."""
        ...

    def claim(self) -> Promotion | None:
        """Take the oldest open promotion that nobody holds; `None` when there is no work."""
        ...

    def renew(self, promotion: Promotion) -> bool:
        """Go on holding it; False when another worker took it over."""
        ...

    def record(
        self,
        promotion: Promotion,
        event: PromotionEvent,
        *,
        note: str = "",
        values: Mapping[str, Any] | None = None,
        unheld: bool = False,
    ) -> Promotion:
        """Apply an event, store the new state and a line of the story, in one transaction.

        Args:
            promotion: As it was read; the write is fenced by its state and attempt.
            event: What happened.
            note: Why, in one sentence; becomes the promotion's reason when it ends, waits or is overridden.
            values: Columns to set with it: `report`, `champion_version`, `policy_hash`, `run_id`, `registry_at`,
                `override_reason`; `pin`, a `Manifest`, is kept as the version's pin in the same transaction.
            unheld: Only when no worker holds the promotion.

        Raises:
            IllegalTransitionError: The state does not allow it.
            ConflictError: Somebody else changed the promotion since it was read, or a worker holds it.
        """
        ...

    def postpone(self, promotion: Promotion, delay_s: float, *, event: str, note: str) -> None:
        """Let go of a claimed promotion until `delay_s` seconds from now, with a line of the story (`event`, `note`).

        A line that would only repeat the last one is left out. Nothing happens when somebody else took it over.
        """
        ...

    def note_policy(self, model: str, policy: ModelPolicy) -> None:
        """Keep a policy under its digest, so that a promotion's `policy_hash` can be read back."""
        ...

    def story(self, promotion_id: int) -> Sequence[Mapping[str, Any]]:
        """Give the steps so far: `at`, `event`, `state`, `note`."""
        ...


class Approvals(Protocol):
    """People's words on promotions that wait for them (adapter: `store/approvals.py`)."""

    def give(self, promotion: Promotion, actor: str, comment: str, champion: int | None = None) -> Promotion:
        """Count somebody's approval; the last one that is needed lets the promotion go on. One transaction.

        Args:
            promotion: Which; a word given again by the same person changes nothing.
            actor: Who, as the audit trail names them.
            comment: What they say.
            champion: Version in Production that is to be replaced; kept as the promotion's `champion_version`;
                `None` leaves that as it is.

        Raises:
            IllegalTransitionError: The promotion does not wait for a person.
            GateRefusedError: This person's word does not count.
        """
        ...

    def of(self, promotion_id: int) -> list[Approval]:
        """Give the words that count, oldest first."""
        ...


class Pins(Protocol):
    """Exactly which files each version had when its gates passed (adapter: `store/pins.py`)."""

    def get(self, model: str, version: int) -> Pin | None:
        """Give one version's pin; `None` for a version that no gates have passed."""
        ...

    def manifest(self, model: str, version: int) -> Manifest | None:
        """Give one version's pinned files; `None` for a version that no gates have passed."""
        ...

    def of(self, model: str) -> dict[int, str]:
        """Give the digests of a model's pinned versions, by version."""
        ...


class Evaluator(Protocol):
    """Lets the policy's gates judge a candidate beside the champion (adapter: `registry/evaluator.py`)."""

    def evaluate(
        self,
        promotion: Promotion,
        candidate: ModelVersion,
        champion: ModelVersion | None,
        policy: ModelPolicy,
        cancelled: Callable[[], bool],
    ) -> GateReport:
        """Measure and judge, and log what was measured into the one MLflow run of this promotion.

        Args:
            promotion: For whom; a second call for the same promotion uses the same run.
            candidate: Version to be judged.
            champion: Version in Production, if there is one.
            policy: Says which gates, on which rows, and how far the models' files are trusted.
            cancelled: Asked again and again; True ends the measuring.

        Raises:
            EvaluationImpossibleError: No evaluation data, a model that cannot be loaded or is unsafe.
            EvaluationCrashedError: The measuring process died or took too long.
            UnavailableError: MLflow does not answer.
            ConflictError: It was cancelled.
        """
        ...


class Results(Protocol):
    """Shows a promotion's outcome in MLflow (adapter: `registry/results.py`)."""

    def write(self, promotion: Promotion, version: ModelVersion, report: GateReport, outcome: str) -> None:
        """Write gate results to the run and, unless it is a dry run, to the version's tags and description.

        Args:
            promotion: The promotion.
            version: Its version, as it stands in the registry.
            report: What the gates said.
            outcome: One sentence for people: what happens with the version now.

        Raises:
            UnavailableError: MLflow does not answer.
        """
        ...


Sleep = Callable[[float], None]
"""How a loop waits; tests hand in one that returns at once."""
