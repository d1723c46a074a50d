"""The index of segments, and how far each spool file has been read. The files: `drift/segment_files.py`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, RowMapping, delete, func, insert, select, text, union_all, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mlflow_ext.domain.drift import OPEN_CHECKS
from mlflow_ext.domain.retraining import RetrainingState
from mlflow_ext.domain.segments import Segment
from mlflow_ext.errors import ConflictError
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.request_filter import may_hold
from mlflow_ext.store.tables import drift_check, retraining, segment, spool_offset

_FIELDS = [segment.c[name] for name in Segment.__slots__]


class Segments:
    """Tables `segment` and `spool_offset`. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def offset(self, spool: str) -> int:
        """Say up to which byte a spool file is in segments; 0 for one that nobody has read."""
        chosen = select(spool_offset.c.offset_bytes).where(spool_offset.c.spool == spool)
        with reading(self._engine) as connection:
            return connection.execute(chosen).scalar() or 0

    def offsets(self, spools: Sequence[str]) -> dict[str, int]:
        """Say of spool files up to which byte each is in segments; those that nobody has read are left out."""
        chosen = select(spool_offset.c.spool, spool_offset.c.offset_bytes).where(spool_offset.c.spool.in_(spools))
        with reading(self._engine) as connection:
            return dict(connection.execute(chosen).tuples().all())

    def commit(
        self, spool: str, *, seen: int, offset: int, added: Mapping[Segment, bytes], replaced: Sequence[Segment]
    ) -> None:
        """Index new files and move the spool's offset, in one transaction: rows are in segments exactly once.

        Args:
            spool: Name of the spool file.
            seen: Offset that the rows were read from.
            offset: Offset after them.
            added: The new segments, each with the filter of its request ids.
            replaced: Segments whose rows are in the new ones; readers stop seeing them now.

        Raises:
            ConflictError: Another compactor moved the offset or replaced a segment; nothing was written.
        """
        with translated(), self._engine.begin() as connection:
            moved = connection.execute(
                upsert(spool_offset)
                .values(spool=spool, offset_bytes=offset)
                .on_conflict_do_update(
                    index_elements=[spool_offset.c.spool],
                    set_={"offset_bytes": offset, "updated_at": func.clock_timestamp()},
                    where=spool_offset.c.offset_bytes == seen,
                )
            ).rowcount
            if moved != 1:
                raise ConflictError(f"spool file {spool} was read past offset {seen} by another compactor")
            uris = [one.uri for one in replaced]
            if uris:
                gone = connection.execute(
                    update(segment)
                    .where(segment.c.uri.in_(uris), segment.c.replaced_at.is_(None))
                    .values(replaced_at=func.clock_timestamp())
                ).rowcount
                if gone != len(uris):
                    raise ConflictError(f"segments of spool file {spool} were merged by another compactor")
            if added:
                rows = [{**asdict(one), "request_filter": requests} for one, requests in added.items()]
                connection.execute(insert(segment), rows)

    def drop_spool(self, spool: str) -> None:
        """Forget the offset of a spool file that has been removed."""
        with translated(), self._engine.begin() as connection:
            connection.execute(delete(spool_offset).where(spool_offset.c.spool == spool))

    def find(self, model: str, version: int | None, since: datetime, until: datetime) -> list[Segment]:
        """Give the segments that may hold rows with `since <= at < until`, by time; all versions for `None`."""
        chosen = (
            select(*_FIELDS)
            .where(
                segment.c.model == model,
                segment.c.replaced_at.is_(None),
                segment.c.last_at >= since,
                segment.c.first_at < until,
            )
            .order_by(segment.c.first_at, segment.c.uri)
        )
        if version is not None:
            chosen = chosen.where(segment.c.version == version)
        return self._read(chosen)

    def newest(self, model: str, limit: int = 500) -> list[Segment]:
        """Give a model's segments of all versions, those with the latest rows first."""
        return self._read(
            select(*_FIELDS)
            .where(segment.c.model == model, segment.c.replaced_at.is_(None))
            .order_by(segment.c.last_at.desc(), segment.c.uri)
            .limit(limit)
        )

    def holding(self, request_id: str, model: str | None = None) -> list[Segment]:
        """Give the segments that may hold a request, newest first: all that do, and one of a hundred that do not."""
        chosen = (
            select(*_FIELDS)
            .where(segment.c.replaced_at.is_(None), may_hold(segment.c.request_filter, request_id))
            .order_by(segment.c.last_at.desc(), segment.c.uri)
        )
        return self._read(chosen if model is None else chosen.where(segment.c.model == model))

    def stored(self) -> dict[str, list[Segment]]:
        """Give every model's segments, those with the oldest last row first."""
        found: dict[str, list[Segment]] = {}
        every = select(*_FIELDS).where(segment.c.replaced_at.is_(None)).order_by(segment.c.last_at, segment.c.uri)
        for one in self._read(every):
            found.setdefault(one.model, []).append(one)
        return found

    def now(self) -> datetime:
        """Give the database's time."""
        with reading(self._engine) as connection:
            found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
            return found

    def needed_since(self) -> dict[str, datetime]:
        """Give, by model, where the oldest window begins that a check or retraining still works on."""
        checks = select(drift_check.c.model, drift_check.c.since).where(drift_check.c.state.in_(sorted(OPEN_CHECKS)))
        others = select(retraining.c.model, retraining.c.since).where(
            retraining.c.state.in_((RetrainingState.DUE, RetrainingState.RUNNING)), retraining.c.since.is_not(None)
        )
        windows = union_all(checks, others).subquery()
        chosen = select(windows.c.model, func.min(windows.c.since)).group_by(windows.c.model)
        with reading(self._engine) as connection:
            return dict(connection.execute(chosen).tuples().all())

    def retire(self, uris: Collection[str]) -> None:
        """Take segments out of the index's sight; their files go a little later, as those of merged ones."""
        with translated(), self._engine.begin() as connection:
            connection.execute(
                update(segment)
                .where(segment.c.uri.in_(uris), segment.c.replaced_at.is_(None))
                .values(replaced_at=func.clock_timestamp())
            )

    def of_hour(self, model: str, version: int, hour: datetime, workspace: str = "default") -> list[Segment]:
        """Give the segments of one hour, smallest first."""
        return self._read(
            select(*_FIELDS)
            .where(
                segment.c.workspace == workspace,
                segment.c.model == model,
                segment.c.version == version,
                segment.c.hour == hour,
                segment.c.replaced_at.is_(None),
            )
            .order_by(segment.c.size_bytes, segment.c.uri)
        )

    def replaced(self, longer_than_s: float) -> list[str]:
        """Give the URIs of files that were merged into others at least so many seconds ago."""
        age = text(f"interval '{longer_than_s:.3f} seconds'")
        chosen = select(segment.c.uri).where(segment.c.replaced_at <= func.clock_timestamp() - age)
        with reading(self._engine) as connection:
            return list(connection.execute(chosen).scalars())

    def forget(self, uri: str) -> None:
        """Drop a replaced segment from the index, once its file is gone."""
        with translated(), self._engine.begin() as connection:
            connection.execute(delete(segment).where(segment.c.uri == uri, segment.c.replaced_at.is_not(None)))

    def _read(self, chosen: Any) -> list[Segment]:
        with reading(self._engine) as connection:
            rows: Sequence[RowMapping] = connection.execute(chosen).mappings().all()
        return [Segment(**row) for row in rows]
