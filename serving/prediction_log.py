"""The writing side of the prediction log, never in an answer's way. The file format lives in `mlflow_ext.spool`.

Which predictions are kept and which columns never reach the disk is policy; how requests are rewritten then is in
`privacy.py`, how much disk the spool may take in `mlflow_ext.spool_room`.
"""

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from mlflow_ext.domain.privacy import KeyedHash
from mlflow_ext.domain.sampling import is_kept
from mlflow_ext.errors import InvalidInputError, UnavailableError
from mlflow_ext.policy import ModelPolicy
from mlflow_ext.spool import Answered, PredictionRecord, SpoolWriter
from mlflow_ext.spool_room import SpoolFullError, held_bytes
from serving.kernels import Rows
from serving.metrics import Metrics
from serving.pool import LoadedVersion
from serving.privacy import Redactor, UncertainError

logger = logging.getLogger(__name__)

COMPLAIN_EVERY_S = 60.0
LOSING_FOR_S = 60.0
"""For so long after a loss the log counts as losing."""

FULL, DISK, UNFIT, PRIVATE = "full", "disk", "unfit", "private"
"""Why a prediction is not in the log: no room, the disk failed, too large a text, perhaps personal data."""


@dataclass(frozen=True, slots=True)
class Understood:
    """Requests that a plan has read, so that nobody need parse them again.

    Attributes:
        columns: Names of the columns.
        tables: Rows of each request.
    """

    columns: tuple[str, ...]
    tables: Sequence[Rows]


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Requests that the model host has rewritten, since policy wants personal data out of them.

    Attributes:
        refused: Why it could not.
    """

    refused: str | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    share: float
    redactor: Redactor | None


@dataclass(slots=True)
class _Losses:
    by_reason: Counter[str] = field(default_factory=Counter)
    last: float = float("-inf")
    last_at: datetime | None = None


class PredictionLog:
    """Appends predictions to the spool; what is not written is counted, and complained about once a minute."""

    def __init__(
        self,
        writer: SpoolWriter,
        metrics: Metrics,
        policy: Callable[[str], ModelPolicy] = lambda model: ModelPolicy(),
        keyed_hash: KeyedHash | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the spool of this process, the policy of each model, and what hashes personal data."""
        self._writer = writer
        self._metrics = metrics
        self._policy = policy
        self._keyed_hash = keyed_hash
        self._monotonic = monotonic
        self._rules: dict[tuple[str, int], _Rule] = {}
        self._losses: defaultdict[str, _Losses] = defaultdict(_Losses)
        self._complain_at: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()
        self._out_of_room = False
        self._lock = threading.Lock()

    def append_answered(self, loaded: LoadedVersion, answered: Answered, understood: Understood) -> bool:
        """Write what a version answered, as its policy wants it.

        Args:
            loaded: The version.
            answered: What it answered.
            understood: The same requests as a plan has read them.

        Returns:
            Whether all that is to be kept was written; a loss must not stop the answers.
        """
        rule = self._rule(loaded)
        if rule.redactor is not None:
            return self.append(loaded, answered.records(), understood)
        if rule.share < 1.0:
            rows = [row for row in answered.rows if is_kept(row[0], rule.share)]
            self._metrics.spool_passed_over.labels(loaded.model).inc(len(answered.rows) - len(rows))
            answered = replace(answered, rows=rows, share=rule.share)
        count = len(answered.rows)
        return not count or self._write(loaded.model, count, partial(self._writer.append_answered, answered))

    def append(
        self,
        loaded: LoadedVersion,
        records: Sequence[PredictionRecord],
        understood: Understood | Rewritten | None = None,
    ) -> bool:
        """Write predictions of one version, as its policy wants it.

        Args:
            loaded: The version.
            records: What it answered.
            understood: The same requests as a plan has read them, or what the model host has made of them.

        Returns:
            Whether all that is to be kept was written; a loss must not stop the answers.
        """
        model = loaded.model
        rule = self._rule(loaded)
        asked = len(records)
        if rule.share < 1.0:
            chosen = [place for place, one in enumerate(records) if is_kept(one.request_id, rule.share)]
            records = [replace(records[place], share=rule.share) for place in chosen]
            if isinstance(understood, Understood) and rule.redactor is not None:
                understood = Understood(understood.columns, [understood.tables[place] for place in chosen])
            self._metrics.spool_passed_over.labels(model).inc(asked - len(records))
        whole = True
        if rule.redactor is not None:
            kept = self._redacted(model, rule.redactor, records, understood)
            whole, records = len(kept) == len(records), kept
        return self._write(model, len(records), partial(self._writer.append, *records)) and whole if records else whole

    def state(self, model: str) -> dict[str, Any] | None:
        """Give what a model's log has lost, JSON-ready: `lost` by reason, `last_lost_at`, `losing`; `None`: nothing."""
        with self._lock:
            losses = self._losses.get(model)
            if losses is None or losses.last_at is None:
                return None
            return {
                "lost": dict(losses.by_reason),
                "last_lost_at": losses.last_at.isoformat(timespec="seconds"),
                "losing": self._monotonic() - losses.last < LOSING_FOR_S,
            }

    @property
    def losing(self) -> bool:
        """Whether a prediction of any model was lost lately."""
        with self._lock:
            now = self._monotonic()
            return any(now - losses.last < LOSING_FOR_S for losses in self._losses.values())

    def measure(self) -> None:
        """Set the metric of the spool's size."""
        self._metrics.spool_bytes.set(held_bytes(self._writer.directory))

    def close(self) -> None:
        """Finish the present file."""
        self._writer.close()

    def _rule(self, loaded: LoadedVersion) -> _Rule:
        found = self._rules.get((loaded.model, loaded.version))
        if found is not None:
            return found
        policy = self._policy(loaded.model)
        redactor = None
        if policy.privacy.names:
            redactor = Redactor(policy.privacy, self._keyed_hash)
            if unknown := redactor.unknown(loaded.inputs):
                names = ",".join(unknown)
                logger.warning(
                    "event=privacy_unknown_columns model=%r version=%d names=%r", loaded.model, loaded.version, names
                )
        rule = self._rules[loaded.model, loaded.version] = _Rule(policy.prediction_log.kept, redactor)
        return rule

    def _redacted(
        self,
        model: str,
        redactor: Redactor,
        records: Sequence[PredictionRecord],
        understood: Understood | Rewritten | None,
    ) -> list[PredictionRecord]:
        kept: list[PredictionRecord] = []
        for place, record in enumerate(records):
            try:
                kept.append(_rewritten(redactor, record, understood, place))
            except UncertainError as exc:
                self._lose(model, 1, PRIVATE, str(exc))
            # parsers raise whatever they like on what clients send; the answer goes out, the request is not written
            except Exception as exc:
                self._lose(model, 1, PRIVATE, type(exc).__name__)
        return kept

    def _write(self, model: str, count: int, write: Callable[[], None]) -> bool:
        try:
            write()
        except SpoolFullError as exc:
            self._out_of_room = True
            self._lose(model, count, FULL, str(exc))
        except UnavailableError as exc:
            self._lose(model, count, DISK, str(exc))
        except InvalidInputError as exc:
            self._lose(model, count, UNFIT, str(exc))
        else:
            self._metrics.spool_records.labels(model).inc(count)
            if self._out_of_room:
                self._out_of_room = False
                logger.info("event=prediction_log_resumed")
            return True
        return False

    def _lose(self, model: str, count: int, reason: str, why: str) -> None:
        self._metrics.spool_lost.labels(model, reason).inc(count)
        with self._lock:
            now = self._monotonic()
            losses = self._losses[model]
            losses.by_reason[reason] += count
            losses.last, losses.last_at = now, datetime.now(UTC)
            self._unsaid[reason] += count
            if now < self._complain_at.get(reason, float("-inf")):
                return
            self._complain_at[reason] = now + COMPLAIN_EVERY_S
            lost, self._unsaid[reason] = self._unsaid[reason], 0
        logger.error("event=predictions_lost model=%r reason=%s lost=%d why=%r", model, reason, lost, why)


def _rewritten(
    redactor: Redactor, record: PredictionRecord, understood: Understood | Rewritten | None, place: int
) -> PredictionRecord:
    match understood:
        case Understood():
            return redactor.rewrite_rows(record, understood.columns, understood.tables[place])
        case Rewritten(refused=None):
            return record
        case Rewritten(refused=refused):
            raise UncertainError(refused)
    raise UncertainError("nobody has rewritten it")
