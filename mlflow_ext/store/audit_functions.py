"""The audit trail inside PostgreSQL: entries are chained as they are inserted, and nothing else may be done to them.

Whatever way an entry comes (our code, the registry triggers, somebody's INSERT), the table's own trigger gives it its
place, its time, the connected user and its hash. What the hash covers is said once more, in Python, in
`domain/audit.py`: whoever verifies does not have to believe the database's functions.
"""

from sqlalchemy import Connection, text

from mlflow_ext.domain.actors import ACTOR_SETTING, SOURCE_SETTING, Source
from mlflow_ext.domain.audit import GENESIS, AuditAction
from mlflow_ext.domain.guard import NOT_AUDITED, GuardMode
from mlflow_ext.domain.stages import STAGE_TAG, Stage
from mlflow_ext.store.tables import SCHEMA

_HASH = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.audit_hash(r {SCHEMA}.audit) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $body$
    SELECT encode(sha256(convert_to(string_agg(
        coalesce(octet_length(convert_to(field, 'UTF8'))::text || ':' || field, '-'),
        '' ORDER BY place), 'UTF8')), 'hex')
    FROM unnest(ARRAY[
        r.id::text, r.workspace, r.model, r.seq::text,
        to_char(r.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
        r.action, r.version::text, r.actor, r.source, r.before, r.after,
        r.policy_hash, r.evidence, r.promotion_id::text, r.event_id::text, r.details::text,
        r.previous]) WITH ORDINALITY AS fields (field, place)
$body$
"""

_CHAIN = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.chain_audit_entry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $body$
BEGIN
    -- the head's row is held until the caller commits: entries of one chain are written one after the other
    INSERT INTO {SCHEMA}.audit_head AS h (workspace, model, length, hash)
    VALUES (NEW.workspace, NEW.model, 1, '{GENESIS}')
    ON CONFLICT (workspace, model) DO UPDATE SET length = h.length + 1
    RETURNING length, hash INTO NEW.seq, NEW.previous;
    NEW.at := clock_timestamp();
    NEW.details := coalesce(NEW.details, '{{}}'::jsonb) || jsonb_build_object('connection', jsonb_build_object(
        'user', session_user, 'application', current_setting('application_name'),
        'address', host(inet_client_addr())));
    NEW.hash := {SCHEMA}.audit_hash(NEW);
    UPDATE {SCHEMA}.audit_head SET hash = NEW.hash WHERE workspace = NEW.workspace AND model = NEW.model;
    RETURN NEW;
END
$body$
"""

_REFUSE = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.refuse_audit_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $body$
BEGIN
    -- the head moves when an entry is appended, inside the trigger that chains it, and at no other time
    IF TG_TABLE_NAME = 'audit_head' AND pg_trigger_depth() > 1 AND TG_OP IN ('INSERT', 'UPDATE') THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'mlflow_ext.% only grows: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$body$
"""

_APPEND = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.append_audit(
    workspace text, model text, action text, version integer, before text, after text,
    actor text DEFAULT NULL, source text DEFAULT NULL, policy_hash text DEFAULT NULL, evidence text DEFAULT NULL,
    promotion_id bigint DEFAULT NULL, event_id bigint DEFAULT NULL, details jsonb DEFAULT '{{}}') RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $body$
    INSERT INTO {SCHEMA}.audit (workspace, model, action, version, before, after, actor, source,
                                policy_hash, evidence, promotion_id, event_id, details, seq, previous, hash)
    VALUES (workspace, model, action, version, before, after,
            coalesce(actor, nullif(current_setting('{ACTOR_SETTING}', true), ''), 'sql:' || session_user),
            coalesce(source, nullif(current_setting('{SOURCE_SETTING}', true), ''), 'sql'),
            policy_hash, evidence, promotion_id, event_id, details, 0, '', '')
    RETURNING seq
$body$
"""

_TELL = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.audit_event(e {SCHEMA}.registry_event, late jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $body$
DECLARE
    action text;
BEGIN
    action := CASE e.kind
        WHEN 'alias' THEN
            CASE WHEN e.new IS NULL THEN '{AuditAction.ALIAS_REMOVED}' ELSE '{AuditAction.ALIAS_SET}' END
        WHEN 'tag' THEN
            CASE WHEN e.new IS NULL THEN '{AuditAction.TAG_REMOVED}' ELSE '{AuditAction.TAG_SET}' END
        ELSE CASE WHEN e.new IS NULL OR e.new = 'Deleted_Internal' THEN '{AuditAction.VERSION_DELETED}'
                  WHEN e.old IS NULL THEN '{AuditAction.VERSION_REGISTERED}'
                  ELSE '{AuditAction.VERSION_STAGE}' END
        END;
    PERFORM {SCHEMA}.append_audit(
        e.workspace, e.model, action, e.version, e.old, e.new, event_id => e.id,
        actor => coalesce(e.actor, 'unknown'), source => coalesce(e.source, '{Source.SQL}'),
        details => late || CASE WHEN e.key = '' THEN '{{}}'::jsonb ELSE jsonb_build_object('key', e.key) END
            || CASE WHEN e.ours THEN '{{"agreement": true}}'::jsonb ELSE '{{}}'::jsonb END);
    IF NOT e.ours
        AND (CASE WHEN e.kind = 'alias' THEN e.key = 'production' AND e.new IS NOT NULL
                  ELSE {SCHEMA}.is_production(e.new) END)
        AND {SCHEMA}.guard_mode(e.workspace, e.model) <> '{GuardMode.OFF}'
        AND NOT {SCHEMA}.guard_evidence(e.workspace, e.model, e.version) THEN
        PERFORM {SCHEMA}.append_audit(
            e.workspace, e.model, '{AuditAction.GUARD_WARNED}', e.version, NULL, '{Stage.PRODUCTION}',
            actor => coalesce(e.actor, 'unknown'), source => coalesce(e.source, '{Source.SQL}'),
            details => late || jsonb_build_object(
                'note', 'to Production without a promotion that passed', 'event', e.id));
    END IF;
END
$body$
"""

_MUST = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.must_be_audited(of_workspace text, of_model text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $body$
BEGIN
    RETURN of_model IS NOT NULL AND {SCHEMA}.guard_mode(of_workspace, of_model) = '{GuardMode.ENFORCE}';
END
$body$
"""

_FOLLOW = f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.audit_registry_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '2s' AS $body$
DECLARE
    failure text;
    needed boolean;
BEGIN
    IF NEW.kind = 'tag' AND NEW.key <> '{STAGE_TAG}' THEN RETURN NULL; END IF;
    PERFORM {SCHEMA}.audit_event(NEW, '{{}}');
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    failure := SQLERRM;
    BEGIN
        needed := {SCHEMA}.must_be_audited(NEW.workspace, NEW.model);
    EXCEPTION WHEN OTHERS THEN
        needed := false;
    END;
    IF needed THEN
        RAISE EXCEPTION USING ERRCODE = '{NOT_AUDITED}',
            MESSAGE = 'this model is guarded, and its change could not be written into the audit trail: ' || failure;
    END IF;
    -- the registry event stays: a worker makes the entry later (`audit_gaps.py`), and until then `mlflow-ext audit
    -- verify` names it
    RAISE WARNING 'mlflow_ext: registry change was not audited: %', failure;
    RETURN NULL;
END
$body$
"""

_TRIGGERS = (
    (
        f"CREATE OR REPLACE TRIGGER chain_entry BEFORE INSERT ON {SCHEMA}.audit "
        f"FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.chain_audit_entry()"
    ),
    (
        f"CREATE OR REPLACE TRIGGER only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.audit "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_audit_change()"
    ),
    (
        f"CREATE OR REPLACE TRIGGER only_grows BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.audit_head "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_audit_change()"
    ),
    # written when its transaction commits: the chain is locked for a moment only, after every other lock, so that two
    # registry changes of one model cannot wait for each other
    f"""
    DO $body$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'audit_event'
                       AND tgrelid = '{SCHEMA}.registry_event'::regclass) THEN
            CREATE CONSTRAINT TRIGGER audit_event AFTER INSERT ON {SCHEMA}.registry_event
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.audit_registry_event();
        END IF;
    END $body$
    """,
)


def install_audit(connection: Connection) -> None:
    """Create or replace the trail's functions and triggers."""
    for statement in (_HASH, _CHAIN, _REFUSE, _APPEND, _TELL, _MUST, _FOLLOW, *_TRIGGERS):
        connection.execute(text(statement))
