"""Checks of skew as rows of `drift_check`: when there are enough rows to look at, once a version. See `checks.py`."""

from datetime import timedelta
from hashlib import sha256

from sqlalchemy import Connection, Engine, exists, func, select

from mlflow_ext.domain.drift import CheckKind, DriftCheck, Window
from mlflow_ext.domain.stages import ModelVersion
from mlflow_ext.store.checks import MANUAL, add_check, check_of, columns
from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.tables import drift_check, segment

_PREFIX = "skew:"
_MOMENT = timedelta(microseconds=1)
"""A window's end is out: so much after the last row that is to be in."""
_MOST_SEGMENTS = 2_000


class Skews:
    """Enters checks of kind `skew`. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def enter_served(self, version: ModelVersion, rows: int) -> bool:
        """Enter the check of a version's first rows, as soon as there are so many; False when there is nothing new."""
        name = _name(version, "served")
        with reading(self._engine) as connection:
            if _is_there(connection, name):
                return False
            window = _first_rows(connection, version.model, version.version, rows)
        return window is not None and self._enter(name, version, window, None)

    def enter_registered(self, version: ModelVersion, served: int, window_s: float, rows: int) -> bool:
        """Enter the check of a version that nobody is asked yet, beside the last rows of the one in Production.

        Args:
            version: The new version.
            served: The version in Production.
            window_s: Seconds of its rows that are looked at.
            rows: So many there have to be.

        Returns:
            False when there is nothing new.
        """
        name = _name(version, "registered")
        with reading(self._engine) as connection:
            if _is_there(connection, name):
                return False
            window = _last(connection, window_s)
            mine = (segment.c.model == version.model) & (segment.c.version == served) & segment.c.replaced_at.is_(None)
            counted = select(func.coalesce(func.sum(segment.c.rows), 0)).where(mine, segment.c.last_at >= window.since)
            if connection.execute(counted).scalar_one() < rows:
                return False
        return self._enter(name, version, window, served)

    def request(self, model: str, version: int, *, rows: int, served: int | None, window_s: float) -> DriftCheck:
        """Ask for a check by hand: the version's first rows, all it has where these are fewer; else Production's last.

        Args:
            model: Registered model.
            version: The version.
            rows: How many first rows.
            served: The version in Production.
            window_s: Seconds of Production's rows.
        """
        with translated(), self._engine.begin() as connection:
            rows_version = None
            window = _first_rows(connection, model, version, rows) or _first_rows(connection, model, version)
            if window is None:
                window = _last(connection, window_s)
                rows_version = served if served != version else None
            name = f"{MANUAL}{_PREFIX}{model}"
            now = connection.execute(select(func.clock_timestamp())).scalar_one()
            more = {"kind": CheckKind.SKEW.value, "rows_version": rows_version}
            add_check(connection, name, now, model, window, version, **more)
            chosen = select(*columns()).where(drift_check.c.schedule == name, drift_check.c.slot == now)
            return check_of(connection.execute(chosen).mappings().one())

    def _enter(self, name: str, version: ModelVersion, window: Window, rows_version: int | None) -> bool:
        with translated(), self._engine.begin() as connection:
            now = connection.execute(select(func.clock_timestamp())).scalar_one()
            more = {"kind": CheckKind.SKEW.value, "rows_version": rows_version}
            return add_check(connection, name, now, version.model, window, version.version, **more)


def _name(version: ModelVersion, when: str) -> str:
    """Name the check's schedule, which has one slot: a model that was made anew under its name has other sources."""
    source = sha256((version.source or "").encode()).hexdigest()[:8]
    return f"{_PREFIX}{version.model}:{version.version}:{source}:{when}"


def _is_there(connection: Connection, name: str) -> bool:
    return bool(connection.execute(select(exists().where(drift_check.c.schedule == name))).scalar())


def _last(connection: Connection, window_s: float) -> Window:
    now = connection.execute(select(func.clock_timestamp())).scalar_one()
    return Window(now - timedelta(seconds=window_s), now)


def _first_rows(connection: Connection, model: str, version: int, rows: int | None = None) -> Window | None:
    """Give the window of a version's first segments with so many rows, of all for `None`; `None` when there are not."""
    mine = (segment.c.model == model) & (segment.c.version == version) & segment.c.replaced_at.is_(None)
    chosen = select(segment.c.first_at, segment.c.last_at, segment.c.rows).where(mine).order_by(segment.c.first_at)
    found = connection.execute(chosen.limit(_MOST_SEGMENTS)).tuples().all()
    counted = 0
    for place, (_, _, count) in enumerate(found):
        counted += count
        if counted >= (rows or 1) and (rows is not None or place == len(found) - 1):
            last = max(last_at for _, last_at, _ in found[: place + 1])
            return Window(found[0][0], last + _MOMENT)
    return None
