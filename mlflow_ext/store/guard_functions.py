"""The guard inside PostgreSQL: triggers on MLflow's tables refuse a change to Production without a passed promotion.

Every way to Production ends here: UI, API, Python, SQL. Evidence is a row of ours in `promotion`, never a tag. What our
registry store makes of a refusal is in `plugins/registry_store.py`; the modes come from the policies by `guard.py`.
"""

from sqlalchemy import Connection, inspect, text

from mlflow_ext.domain.audit import AuditAction
from mlflow_ext.domain.events import RegistryEventKind
from mlflow_ext.domain.guard import REFUSED, STORE_SETTING, GuardMode
from mlflow_ext.domain.promotion import PromotionState
from mlflow_ext.domain.stages import STAGE_OF_ALIAS, STAGE_TAG, Stage
from mlflow_ext.store.tables import SCHEMA
from mlflow_ext.store.triggers import WATCHED

GUARD_TRIGGER = "mlflow_ext_guard"

_ALIAS = next(alias for alias, stage in STAGE_OF_ALIAS.items() if stage is Stage.PRODUCTION)
# what `str.strip` strips: a word that Python reads as Production must be one here too
_BLANK = "".join(
    rf"\u{ord(blank):04x}"
    for blank in "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)

_IS_PRODUCTION = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.is_production(word text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $body$
    SELECT coalesce(lower(btrim(word, E'{_BLANK}') COLLATE "C") = '{Stage.PRODUCTION.value.lower()}', false)
$body$
"""

_MODE = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.guard_mode(of_workspace text, of_model text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $body$
    SELECT coalesce((SELECT mode FROM {SCHEMA}.guard WHERE workspace = of_workspace AND model IN (of_model, '')
                     ORDER BY model DESC LIMIT 1), '{GuardMode.WARN}')
$body$
"""

_EVIDENCE = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.guard_evidence(of_workspace text, of_model text, of_version integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $body$
    SELECT EXISTS (
        SELECT FROM {SCHEMA}.promotion
        WHERE workspace = of_workspace AND model = of_model AND version = of_version AND NOT dry_run
          AND version_gone_at IS NULL AND state IN ('{PromotionState.ROLLING_OUT}', '{PromotionState.PROMOTED}'))
$body$
"""

# MLflow's tables are in the schema of the table that the trigger is on
_STANDS = f"""
    SELECT EXISTS (SELECT FROM %1$I.model_versions WHERE workspace = $1 AND name = $2 AND version = $3
                   AND {SCHEMA}.is_production(current_stage))
        OR EXISTS (SELECT FROM %1$I.registered_model_aliases WHERE workspace = $1 AND name = $2 AND version = $3
                   AND alias = '{_ALIAS}')
        OR EXISTS (SELECT FROM %1$I.model_version_tags WHERE workspace = $1 AND name = $2 AND version = $3
                   AND key = '{STAGE_TAG}' AND {SCHEMA}.is_production(value))
"""

_WORDS = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.guard_words(of_workspace text, of_model text, of_version integer) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $body$
DECLARE
    last record;
    found text;
BEGIN
    IF {SCHEMA}.guard_evidence(of_workspace, of_model, of_version) THEN
        RETURN format('Version %s of %s has passed its gates, but may not go to Production in this way: by SQL, or '
            'through an MLflow server without the plugin mlflow-ext. Use MLflow''s UI or API on the server with it.',
            of_version, of_model);
    END IF;
    SELECT id, state, left(reason, 400) AS reason INTO last FROM {SCHEMA}.promotion
    WHERE workspace = of_workspace AND model = of_model AND version = of_version AND NOT dry_run
      AND version_gone_at IS NULL ORDER BY id DESC LIMIT 1;
    found := CASE
        WHEN last.state IS NULL THEN 'Its gates have not been computed yet.'
        WHEN last.state IN ('{PromotionState.REQUESTED}', '{PromotionState.EVALUATING}')
            THEN 'Its gates are being computed now; when they pass, it goes to Production by itself.'
        WHEN last.state = '{PromotionState.AWAITING_APPROVAL}'
            THEN format('It waits for a person to agree (`mlflow-ext approve %s`): %s', last.id, last.reason)
        ELSE format('Its last promotion ended as "%s": %s', replace(last.state, '_', ' '), last.reason)
    END;
    RETURN format('Version %1$s of %2$s cannot be moved to Production by hand: this model is guarded, only versions '
        'that passed their gates go there. %3$s What you can do: mark the version Staging (its gates then decide), or '
        'run `mlflow-ext promote %2$s %1$s`. Whoever takes the responsibility past the gates adds '
        '`--override --reason "..."`, which is recorded.', of_version, of_model, found);
END
$body$
"""

_SEQUENCES = (
    f"CREATE SEQUENCE IF NOT EXISTS {SCHEMA}.guard_refusals",
    f"CREATE SEQUENCE IF NOT EXISTS {SCHEMA}.guard_refused_last",
)

_NAME_HASH = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.guard_name_hash(of_workspace text, of_model text) RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $body$
    SELECT hashtextextended(of_workspace || '/' || of_model, 0) & 2147483647
$body$
"""

_GUARD = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.guard_production() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '2s' AS $body$
DECLARE
    n jsonb := to_jsonb(NEW);
    o jsonb;
    of_workspace text := coalesce(n->>'workspace', 'default');
    of_model text := n->>'name';
    of_version integer := (n->>'version')::integer;
    mark text;
    word text;
    former text;
    renamed boolean := false;
    stands boolean;
BEGIN
    IF TG_OP = 'UPDATE' THEN o := to_jsonb(OLD); END IF;
    IF TG_TABLE_NAME = 'model_versions' THEN
        mark := 'stage'; word := n->>'current_stage';
        former := CASE WHEN o->'version' = n->'version' THEN o->>'current_stage' END;
    ELSIF TG_TABLE_NAME = 'registered_model_aliases' THEN
        mark := 'alias';
        word := CASE WHEN n->>'alias' = '{_ALIAS}' THEN '{Stage.PRODUCTION}' END;
        -- an alias that moves leaves another version and comes to this one
        former := CASE WHEN o->>'alias' = '{_ALIAS}' AND o->'version' = n->'version' THEN '{Stage.PRODUCTION}' END;
    ELSE
        mark := 'tag';
        word := CASE WHEN n->>'key' = '{STAGE_TAG}' THEN n->>'value' END;
        former := CASE WHEN o->>'key' = '{STAGE_TAG}' AND o->'version' = n->'version' THEN o->>'value' END;
    END IF;
    IF NOT {SCHEMA}.is_production(word) OR {SCHEMA}.guard_mode(of_workspace, of_model) <> '{GuardMode.ENFORCE}' THEN
        RETURN NEW;
    END IF;
    IF o IS NOT NULL THEN
        renamed := (o->>'name', coalesce(o->>'workspace', 'default')) IS DISTINCT FROM (of_model, of_workspace);
    END IF;
    IF {SCHEMA}.is_production(former) AND (
        NOT renamed OR {SCHEMA}.guard_mode(o->>'workspace', o->>'name') = '{GuardMode.ENFORCE}'
        OR {SCHEMA}.guard_evidence(o->>'workspace', o->>'name', of_version)) THEN
        RETURN NEW;  -- it is there already; a model cannot come in by taking a guarded model's name
    END IF;
    EXECUTE format($stands${_STANDS}$stands$, TG_TABLE_SCHEMA) INTO stands USING of_workspace, of_model, of_version;
    IF stands AND NOT renamed THEN
        RETURN NEW;  -- another mark has brought it there, and was let through
    END IF;
    IF current_setting('{STORE_SETTING}', true) = 'on'
        AND {SCHEMA}.guard_evidence(of_workspace, of_model, of_version) THEN
        RETURN NEW;
    END IF;
    IF current_setting('{STORE_SETTING}', true) IS DISTINCT FROM 'on' THEN
        -- what is refused is undone, but for sequences: they remember that it was tried, by whom, on which model
        PERFORM nextval('{SCHEMA}.guard_refusals');
        PERFORM setval('{SCHEMA}.guard_refused_last', (SELECT oid::bigint FROM pg_roles WHERE rolname = session_user)
            * 2147483648 + {SCHEMA}.guard_name_hash(of_workspace, of_model));
    END IF;
    RAISE EXCEPTION USING ERRCODE = '{REFUSED}', MESSAGE = {SCHEMA}.guard_words(of_workspace, of_model, of_version),
        DETAIL = jsonb_build_object('workspace', of_workspace, 'model', of_model, 'version', of_version,
                                    'mark', mark, 'user', session_user)::text;
EXCEPTION
    WHEN undefined_table OR undefined_function OR undefined_column OR invalid_schema_name THEN
        -- our tables are not there: nothing can be known, and MLflow must work
        RAISE WARNING 'mlflow_ext: the guard is not complete: %', SQLERRM;
        RETURN NEW;
END
$body$
"""

# whoever would claim it or end it waits until the transaction that asks has ended; what came to Production since it was
# decided outranks it, as `domain/staging.py: outranked` says (without triggers nobody knows)
_HOLD_CLAIM = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.hold_claim(of_promotion bigint, under_attempt integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '10s' AS $body$
DECLARE
    held record;
    latest integer;
    registry name;
    stands boolean;
BEGIN
    SELECT workspace, model, version, champion_version INTO held FROM {SCHEMA}.promotion
    WHERE id = of_promotion AND attempt = under_attempt AND state = '{PromotionState.ROLLING_OUT}' FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    SELECT version INTO latest FROM {SCHEMA}.registry_event
    WHERE workspace = held.workspace AND model = held.model AND NOT ours AND (
        kind = '{RegistryEventKind.ALIAS}' AND key = '{_ALIAS}' AND new IS NOT NULL
        OR {SCHEMA}.is_production(new) AND (kind IN ('{RegistryEventKind.STAGE}', '{RegistryEventKind.VERSION}')
                                            OR kind = '{RegistryEventKind.TAG}' AND key = '{STAGE_TAG}'))
    ORDER BY id DESC LIMIT 1;
    IF latest IS NULL OR latest = held.version OR latest = held.champion_version THEN
        RETURN true;
    END IF;
    SELECT relnamespace::regnamespace::name INTO registry FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
    WHERE tgname = '{GUARD_TRIGGER}' AND relname = 'model_versions' LIMIT 1;
    IF registry IS NULL THEN
        RETURN true;
    END IF;
    EXECUTE format($stands${_STANDS}$stands$, registry) INTO stands USING held.workspace, held.model, latest;
    RETURN NOT stands;
END
$body$
"""

_FOLLOW = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.promotion_follows_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '2s' AS $body$
DECLARE
    o jsonb := to_jsonb(OLD);
    n jsonb;
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- the whole model was deleted: another one of that name begins with versions of its own, and no evidence
        UPDATE {SCHEMA}.promotion SET version_gone_at = clock_timestamp()
        WHERE workspace = coalesce(o->>'workspace', 'default') AND model = o->>'name'
          AND version = (o->>'version')::integer AND version_gone_at IS NULL;
    ELSE
        n := to_jsonb(NEW);
        IF (o->>'name', o->>'workspace') IS DISTINCT FROM (n->>'name', n->>'workspace') THEN
            UPDATE {SCHEMA}.promotion SET model = n->>'name', workspace = coalesce(n->>'workspace', 'default')
            WHERE workspace = coalesce(o->>'workspace', 'default') AND model = o->>'name'
              AND version = (o->>'version')::integer AND version_gone_at IS NULL;
        END IF;
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'mlflow_ext: promotions did not follow their version: %', SQLERRM;
    RETURN NULL;
END
$body$
"""

_NOTE_MODE = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.audit_guard_mode() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $body$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM {SCHEMA}.append_audit(OLD.workspace, OLD.model, '{AuditAction.GUARD_MODE}', NULL, OLD.mode, NULL);
    ELSIF TG_OP = 'INSERT' THEN
        PERFORM {SCHEMA}.append_audit(NEW.workspace, NEW.model, '{AuditAction.GUARD_MODE}', NULL, NULL, NEW.mode);
    ELSE
        PERFORM {SCHEMA}.append_audit(NEW.workspace, NEW.model, '{AuditAction.GUARD_MODE}', NULL, OLD.mode, NEW.mode);
    END IF;
    RETURN NULL;
END
$body$
"""


def install_guard(connection: Connection) -> None:
    """Create or replace the guard's functions, and its triggers where MLflow's tables exist."""
    functions = (_IS_PRODUCTION, _MODE, _EVIDENCE, _WORDS, _NAME_HASH, _GUARD, _HOLD_CLAIM, _FOLLOW, _NOTE_MODE)
    for statement in (*_SEQUENCES, *functions):
        connection.execute(text(statement))
    _trigger(connection, "guard_mode", f"AFTER INSERT OR UPDATE OR DELETE ON {SCHEMA}.guard", "audit_guard_mode")
    found = inspect(connection)
    if not all(found.has_table(table) for table in WATCHED):
        return
    for table in WATCHED:
        _trigger(connection, GUARD_TRIGGER, f"BEFORE INSERT OR UPDATE ON {table}", "guard_production")
    _trigger(
        connection,
        "mlflow_ext_promotion_follows",
        "AFTER UPDATE OF name, workspace OR DELETE ON model_versions",
        "promotion_follows_version",
    )


def guard_holds(connection: Connection) -> bool:
    """Tell whether the guard's triggers are there, or no model needs them."""
    held = text(
        f"SELECT NOT EXISTS (SELECT FROM {SCHEMA}.guard WHERE mode = '{GuardMode.ENFORCE}') OR "
        "(SELECT count(*) FROM pg_trigger WHERE tgname = :name AND tgenabled <> 'D' "
        "AND tgrelid IN (SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) AS name)) = :needed"
    )
    values = {"name": GUARD_TRIGGER, "tables": list(WATCHED), "needed": len(WATCHED)}
    return bool(connection.execute(held, values).scalar_one())


def _trigger(connection: Connection, name: str, when: str, function: str) -> None:
    connection.execute(
        text(f"CREATE OR REPLACE TRIGGER {name} {when} FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.{function}()")
    )
