"""Triggers on MLflow's registry tables: every change becomes a row in `registry_event` and a notification.

They run in the transaction of whoever changes the registry, whether a click in the UI, an API call or plain SQL. They
never raise: a failure of ours must not break MLflow, and the polling safety net finds what a trigger missed.
"""

from sqlalchemy import Connection, inspect, text

from mlflow_ext.store.tables import SCHEMA

CHANNEL = "mlflow_ext_registry"
"""LISTEN channel; the payload is the registered model's name."""

WATCHED = ("model_versions", "registered_model_aliases", "model_version_tags")

_FUNCTION = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.note_registry_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $body$
DECLARE
    o jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    n jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    r jsonb := COALESCE(CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END, to_jsonb(OLD));
    event_kind text;
    event_key text := '';
    before text;
    after text;
    event_version integer := (r->>'version')::integer;
BEGIN
    IF TG_TABLE_NAME = 'model_versions' THEN
        IF TG_OP = 'UPDATE' AND o->>'current_stage' IS NOT DISTINCT FROM n->>'current_stage' THEN
            RETURN NULL;
        END IF;
        event_kind := CASE WHEN TG_OP = 'UPDATE' THEN 'stage' ELSE 'version' END;
        before := o->>'current_stage';
        after := n->>'current_stage';
    ELSIF TG_TABLE_NAME = 'registered_model_aliases' THEN
        event_kind := 'alias';
        event_key := r->>'alias';
        before := o->>'version';
        after := n->>'version';
    ELSE
        event_kind := 'tag';
        event_key := r->>'key';
        before := o->>'value';
        after := n->>'value';
    END IF;
    IF TG_OP = 'UPDATE' AND before IS NOT DISTINCT FROM after THEN
        RETURN NULL;
    END IF;
    INSERT INTO {SCHEMA}.registry_event (workspace, model, version, kind, key, old, new)
    VALUES (COALESCE(r->>'workspace', 'default'), r->>'name', event_version, event_kind, event_key, before, after);
    PERFORM pg_notify('{CHANNEL}', left(r->>'name', 2000));
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'mlflow_ext: registry change was not recorded: %', SQLERRM;
    RETURN NULL;
END
$body$
"""


def install_triggers(connection: Connection) -> bool:
    """Create or replace the triggers; False when MLflow's tables are not there yet."""
    found = inspect(connection)
    if not all(found.has_table(table) for table in WATCHED):
        return False
    connection.execute(text(_FUNCTION))
    for table in WATCHED:
        connection.execute(
            text(
                f"CREATE OR REPLACE TRIGGER mlflow_ext_registry_change AFTER INSERT OR UPDATE OR DELETE ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.note_registry_change()"
            )
        )
    return True


def triggers_installed(connection: Connection) -> bool:
    """Tell whether every watched table has our trigger; without them polling alone carries changes."""
    count = connection.execute(
        text("SELECT count(*) FROM pg_trigger WHERE tgname = 'mlflow_ext_registry_change' AND tgenabled <> 'D'")
    ).scalar_one()
    return bool(count == len(WATCHED))
