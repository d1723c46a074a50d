"""The `Pins` port on `mlflow_ext.pin`. They are written with the promotion's step, in `store/promotions.py`.

What is compared with a pin, and when, is in `registry/artifacts.py`.
"""

import logging

from sqlalchemy import Connection, Engine, RowMapping, bindparam, func, inspect, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from mlflow_ext.domain.pins import Manifest, Pin
from mlflow_ext.store.engine import reading
from mlflow_ext.store.pin_table import pin as table
from mlflow_ext.store.tables import DEFAULT_WORKSPACE, SCHEMA

_log = logging.getLogger(__name__)

# asked for whenever a mark moves: to build a statement costs more than to send it
_DIGESTS = select(table.c.version, table.c.digest).where(
    table.c.workspace == bindparam("of_workspace"), table.c.model == bindparam("of_model")
)

_FOLLOW = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.pin_follows_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '2s' AS $body$
DECLARE
    o jsonb := to_jsonb(OLD);
    n jsonb;
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- the whole model was deleted: another one of that name begins with versions of its own
        DELETE FROM {SCHEMA}.pin WHERE workspace = COALESCE(o->>'workspace', 'default')
            AND model = o->>'name' AND version = (o->>'version')::integer;
    ELSE
        n := to_jsonb(NEW);
        IF (o->>'name', o->>'workspace') IS DISTINCT FROM (n->>'name', n->>'workspace') THEN
            UPDATE {SCHEMA}.pin SET model = n->>'name', workspace = COALESCE(n->>'workspace', 'default')
            WHERE workspace = COALESCE(o->>'workspace', 'default')
                AND model = o->>'name' AND version = (o->>'version')::integer;
        END IF;
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'mlflow_ext: a pin did not follow its version: %', SQLERRM;
    RETURN NULL;
END
$body$
"""


class SqlPins:
    """Which files each version had when its gates passed."""

    def __init__(self, engine: Engine, workspace: str = DEFAULT_WORKSPACE) -> None:
        """Take the database, and the workspace whose models are meant."""
        self._engine = engine
        self._workspace = workspace

    def get(self, model: str, version: int) -> Pin | None:
        """Give one version's pin."""
        return next((found for found in self._read(model, version)), None)

    def manifest(self, model: str, version: int) -> Manifest | None:
        """Give one version's pinned files."""
        pin = self.get(model, version)
        return pin.manifest if pin else None

    def of(self, model: str) -> dict[int, str]:
        """Give the digests of a model's pinned versions, by version."""
        with reading(self._engine) as connection:
            rows = connection.execute(_DIGESTS, {"of_workspace": self._workspace, "of_model": model})
            return {row.version: row.digest for row in rows}

    def _read(self, model: str, version: int) -> list[Pin]:
        query = select(table).where(
            table.c.workspace == self._workspace, table.c.model == model, table.c.version == version
        )
        with reading(self._engine) as connection:
            return [_pin(row) for row in connection.execute(query).mappings()]


def put_pin(connection: Connection, pin: Pin) -> None:
    """Keep a pin, in the caller's transaction; a later promotion of the same version replaces it."""
    values = {
        "digest": pin.manifest.digest,
        "manifest": pin.manifest.as_list(),
        "promotion_id": pin.promotion_id,
        "pinned_at": func.clock_timestamp(),
    }
    connection.execute(
        upsert(table)
        .values(workspace=pin.workspace, model=pin.model, version=pin.version, **values)
        .on_conflict_do_update(index_elements=["workspace", "model", "version"], set_=values)
    )


def install_pin_trigger(connection: Connection) -> None:
    """Let pins follow renamed models, and go with deleted ones, where MLflow's tables exist."""
    if not inspect(connection).has_table("model_versions"):
        return
    connection.execute(text(_FOLLOW))
    connection.execute(
        text(
            "CREATE OR REPLACE TRIGGER mlflow_ext_pin_follows AFTER UPDATE OF name, workspace OR DELETE "
            f"ON model_versions FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.pin_follows_version()"
        )
    )


def _pin(row: RowMapping) -> Pin:
    return Pin(
        model=row["model"],
        version=row["version"],
        manifest=Manifest.from_list(row["manifest"]),
        promotion_id=row["promotion_id"],
        pinned_at=row["pinned_at"],
        workspace=row["workspace"],
    )
