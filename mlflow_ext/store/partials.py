"""Statistics of whole segments, kept so that no window counts them again. How they are made: `drift/engine/`."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Engine, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert

from mlflow_ext.store.engine import reading, translated
from mlflow_ext.store.partial_table import drift_partial as table
from mlflow_ext.store.tables import segment

_AT_ONCE = 200


class Partials:
    """The table `drift_partial`. Every method raises `UnavailableError` without PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        """Take the database."""
        self._engine = engine

    def get(self, profile: str, uris: Sequence[str]) -> dict[str, bytes]:
        """Give what is kept of some segments, by URI.

        Args:
            profile: Id of the profile that they were counted by.
            uris: The segments.
        """
        found: dict[str, bytes] = {}
        with reading(self._engine) as connection:
            for begin in range(0, len(uris), _AT_ONCE):
                some = list(uris[begin : begin + _AT_ONCE])
                chosen = select(table.c.uri, table.c.statistics).where(
                    table.c.profile == profile, table.c.uri.in_(some)
                )
                found.update({row.uri: bytes(row.statistics) for row in connection.execute(chosen)})
        return found

    def put(self, profile: str, statistics: Mapping[str, bytes]) -> None:
        """Keep statistics by the URI of their segment; a segment that is gone meanwhile is passed by."""
        with translated(), self._engine.begin() as connection:
            for uri, content in statistics.items():
                # locked, so that it does not go between the look and the insert
                there = (
                    select(literal(profile), segment.c.uri, literal(content, type_=table.c.statistics.type))
                    .where(segment.c.uri == uri)
                    .with_for_update(key_share=True, read=True)
                )
                connection.execute(
                    upsert(table).from_select(["profile", "uri", "statistics"], there).on_conflict_do_nothing()
                )
