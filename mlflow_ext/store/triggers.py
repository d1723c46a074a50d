"""Triggers on MLflow's registry tables: every change becomes a row in `registry_event` and a notification.

They run in the transaction of whoever changes the registry, whether a click in the UI, an API call or plain SQL. A
failure of ours must not break MLflow, and the polling safety net finds what a trigger missed; but where a model is
guarded no change may go unaudited, so there it fails with us (`audit_functions.py: must_be_audited`).
"""

import logging

from sqlalchemy import Connection, inspect, text

from mlflow_ext.domain.events import AGREEMENT_SETTING
from mlflow_ext.domain.guard import NOT_AUDITED
from mlflow_ext.domain.stages import STAGE_TAG
from mlflow_ext.store.tables import SCHEMA

_log = logging.getLogger(__name__)

CHANNEL = "mlflow_ext_registry"
"""LISTEN channel; the payload is the registered model's name."""

WATCHED = ("model_versions", "registered_model_aliases", "model_version_tags")

_FUNCTION = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.note_registry_change() RETURNS trigger
-- whoever changes MLflow's registry need not know our schema, and does not wait for a lock on our table
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '2s' AS $body$
DECLARE
    o jsonb;
    n jsonb;
    event_kind text;
    value_column text;
    key_column text;
    gone boolean;
    came boolean;
    failure text;
    needed boolean := false;
BEGIN
    IF TG_OP <> 'INSERT' THEN o := to_jsonb(OLD); END IF;
    IF TG_OP <> 'DELETE' THEN n := to_jsonb(NEW); END IF;
    IF TG_TABLE_NAME = 'model_versions' THEN
        event_kind := 'version'; value_column := 'current_stage';
    ELSIF TG_TABLE_NAME = 'registered_model_aliases' THEN
        event_kind := 'alias'; value_column := 'version'; key_column := 'alias';
    ELSE
        event_kind := 'tag'; value_column := 'value'; key_column := 'key';
    END IF;
    -- a renamed model takes its rows along: gone under the old name, come under the new one
    gone := TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND (o->>'name', o->>'workspace') IS DISTINCT FROM
                                                      (n->>'name', n->>'workspace'));
    came := TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND gone);
    IF gone OR came THEN
        IF gone THEN
            PERFORM {SCHEMA}.append_registry_event(o, event_kind, key_column, o->>value_column, NULL);
        END IF;
        IF came THEN
            PERFORM {SCHEMA}.append_registry_event(n, event_kind, key_column, NULL, n->>value_column);
        END IF;
    ELSIF o->>value_column IS DISTINCT FROM n->>value_column THEN
        PERFORM {SCHEMA}.append_registry_event(
            n, CASE event_kind WHEN 'version' THEN 'stage' ELSE event_kind END, key_column,
            o->>value_column, n->>value_column);
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    failure := SQLERRM;
    IF event_kind IS DISTINCT FROM 'tag' OR '{STAGE_TAG}' IN (o->>'key', n->>'key') THEN
        BEGIN
            needed := {SCHEMA}.must_be_audited(coalesce(o->>'workspace', 'default'), o->>'name')
                OR {SCHEMA}.must_be_audited(coalesce(n->>'workspace', 'default'), n->>'name');
        EXCEPTION WHEN OTHERS THEN
            needed := false;  -- our functions are not there: nothing can be known, and MLflow must work
        END;
    END IF;
    IF needed THEN
        RAISE EXCEPTION USING ERRCODE = '{NOT_AUDITED}',
            MESSAGE = 'this model is guarded, and its change could not be recorded: ' || failure;
    END IF;
    RAISE WARNING 'mlflow_ext: registry change was not recorded: %', failure;
    RETURN NULL;
END
$body$
"""

_APPEND = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.append_registry_event(
    r jsonb, event_kind text, key_column text, before text, after text) RETURNS void
LANGUAGE sql AS $body$
    INSERT INTO {SCHEMA}.registry_event (workspace, model, version, kind, key, old, new, ours)
    VALUES (COALESCE(r->>'workspace', 'default'), r->>'name', (r->>'version')::integer, event_kind,
            COALESCE(r->>key_column, ''), before, after,
            COALESCE(current_setting('{AGREEMENT_SETTING}', true), '') = 'on');
    -- other tags mark nothing; gates write several, and whoever listens would look at the model again for each
    SELECT pg_notify('{CHANNEL}', left(r->>'name', 1000))
    WHERE event_kind <> 'tag' OR r->>key_column = '{STAGE_TAG}';
$body$
"""


def install_triggers(connection: Connection) -> bool:
    """Create or replace the triggers; False when MLflow's tables are not there yet."""
    found = inspect(connection)
    if not all(found.has_table(table) for table in WATCHED):
        _log.warning("triggers_not_installed reason='no tables of MLflow yet' effect='changes are found by polling'")
        return False
    for function in (_APPEND, _FUNCTION):
        connection.execute(text(function))
    for table in WATCHED:
        connection.execute(
            text(
                f"CREATE OR REPLACE TRIGGER mlflow_ext_registry_change AFTER INSERT OR UPDATE OR DELETE ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.note_registry_change()"
            )
        )
    return True


def triggers_installed(connection: Connection) -> bool:
    """Tell whether every watched table has our trigger for events; without them polling alone carries changes."""
    count = connection.execute(
        text(
            "SELECT count(*) FROM pg_trigger WHERE tgname = 'mlflow_ext_registry_change' AND tgenabled <> 'D' "
            "AND tgrelid IN (SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) AS name)"
        ),
        {"tables": list(WATCHED)},
    ).scalar_one()
    return bool(count == len(WATCHED))
