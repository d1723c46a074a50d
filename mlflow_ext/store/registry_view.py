"""The `RegistryView` port on MLflow's own tables, read by SQL in one round trip.

Nothing is written here: changes go through MLflow's API (`registry/client.py`).
"""

from contextlib import AbstractContextManager
from datetime import UTC, datetime

from sqlalchemy import Engine, RowMapping, TextClause, text

from mlflow_ext.domain.stages import ModelVersion, Stage
from mlflow_ext.errors import NotFoundError
from mlflow_ext.store.engine import moment, reading
from mlflow_ext.store.tables import DEFAULT_WORKSPACE

# MLflow keeps a deleted version's row under this stage, and its prompts as registered models with this tag
_LIVE = """
    v.workspace = :workspace AND v.current_stage <> 'Deleted_Internal' AND NOT EXISTS (
        SELECT FROM registered_model_tags p
        WHERE p.workspace = v.workspace AND p.name = v.name
          AND p.key = 'mlflow.prompt.is_prompt' AND lower(p.value) = 'true')
"""

_MODELS = f"SELECT DISTINCT v.name FROM model_versions v WHERE {_LIVE} ORDER BY v.name"

_VERSIONS = f"""
    SELECT v.workspace, v.name, v.version, v.current_stage, v.run_id, v.source, v.description, v.last_updated_time,
        ARRAY(SELECT a.alias FROM registered_model_aliases a
              WHERE a.workspace = v.workspace AND a.name = v.name AND a.version = v.version
              ORDER BY a.alias) AS aliases,
        (SELECT coalesce(jsonb_object_agg(t.key, coalesce(t.value, '')), '{{}}') FROM model_version_tags t
         WHERE t.workspace = v.workspace AND t.name = v.name AND t.version = v.version) AS tags
    FROM model_versions v
    WHERE {_LIVE} AND v.name = :model
"""
# asked for whenever a mark moves: to read a statement's text costs more than to send it
_ALL = text(_VERSIONS + " ORDER BY v.version DESC")
_ONE = text(_VERSIONS + " AND v.version = :version")


class SqlRegistryView:
    """What MLflow's registry holds now, prompts and deleted versions left out."""

    def __init__(self, engine: Engine, workspace: str = DEFAULT_WORKSPACE) -> None:
        """Take the database that MLflow keeps its registry in, and the workspace to look at."""
        self._engine = engine
        self._workspace = workspace

    def moment(self) -> AbstractContextManager[None]:
        """Let everything that this thread reads of the database inside be of one moment.

        Raises:
            UnavailableError: The database does not answer.
        """
        return moment(self._engine)

    def models(self) -> list[str]:
        """Name every registered model that has at least one version, in alphabetical order.

        Raises:
            UnavailableError: The database does not answer, or has no tables of MLflow's.
        """
        with reading(self._engine) as connection:
            return list(connection.execute(text(_MODELS), {"workspace": self._workspace}).scalars())

    def versions(self, model: str) -> list[ModelVersion]:
        """Give all live versions of a model with their marks, newest first; empty for an unknown model.

        Raises:
            UnavailableError: The database does not answer, or has no tables of MLflow's.
        """
        return self._read(_ALL, model=model)

    def version(self, model: str, version: int) -> ModelVersion:
        """Give one version.

        Raises:
            NotFoundError: There is no such version.
            UnavailableError: The database does not answer, or has no tables of MLflow's.
        """
        found = self._read(_ONE, model=model, version=version)
        if not found:
            raise NotFoundError(f"MLflow's registry has no version {version} of model '{model}'")
        return found[0]

    def _read(self, statement: TextClause, **values: object) -> list[ModelVersion]:
        with reading(self._engine) as connection:
            rows = connection.execute(statement, {"workspace": self._workspace, **values}).mappings()
            return [_version(row) for row in rows]


def _version(row: RowMapping) -> ModelVersion:
    updated_ms = row["last_updated_time"]
    return ModelVersion(
        model=row["name"],
        version=row["version"],
        stage=Stage.parse(row["current_stage"]) or Stage.NONE,
        aliases=tuple(row["aliases"]),
        tags=dict(row["tags"]),
        run_id=row["run_id"] or None,
        source=row["source"],
        description=row["description"] or "",
        updated_at=None if updated_ms is None else datetime.fromtimestamp(updated_ms / 1000, UTC),
        workspace=row["workspace"],
    )
