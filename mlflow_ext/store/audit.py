"""The audit trail in PostgreSQL: appending in the caller's transaction, and reading it back to be judged.

The chain is made in the database (`audit_functions.py`); what makes a trail whole is said in `domain/audit.py`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Text, and_, cast, func, select, text

from mlflow_ext.domain.actors import ACTOR_SETTING, SOURCE_SETTING, acting
from mlflow_ext.domain.audit import AuditAction, AuditEntry, AuditEvent, AuditHead, Finding, check_chain, check_expected
from mlflow_ext.domain.audit_replay import Marks, differing, marks_of
from mlflow_ext.domain.stages import STAGE_TAG
from mlflow_ext.store.audit_tables import audit as table
from mlflow_ext.store.audit_tables import audit_head
from mlflow_ext.store.engine import moment, reading
from mlflow_ext.store.tables import DEFAULT_WORKSPACE, SCHEMA, promotion

_APPEND = f"""
    SELECT {SCHEMA}.append_audit(
        :workspace, :model, :action, :version, :before, :after, actor => :actor, source => :source,
        policy_hash => :policy_hash, evidence => :evidence, promotion_id => :promotion_id,
        details => CAST(:details AS jsonb))
"""

_SAY_WHO = f"SELECT set_config('{ACTOR_SETTING}', :actor, true), set_config('{SOURCE_SETTING}', :source, true)"

_NOT_AUDITED = f"""
    SELECT e.workspace, e.model, e.id, e.kind, e.version, e.old, e.new FROM {SCHEMA}.registry_event e
    WHERE e.id > (SELECT min(coalesce((a.details->>'last_event')::bigint, 0)) FROM {SCHEMA}.audit a
                  WHERE a.action = '{AuditAction.TRAIL_OPENED}' AND a.model = '')
      AND (e.kind <> 'tag' OR e.key = '{STAGE_TAG}')
      AND NOT EXISTS (SELECT FROM {SCHEMA}.audit a WHERE a.event_id = e.id)
    ORDER BY e.id
"""

_BEGIN = f"""
    SELECT min(coalesce((details->>'{{}}')::bigint, 0)) FROM {SCHEMA}.audit
    WHERE action = '{AuditAction.TRAIL_OPENED}' AND model = ''
"""

_IS_OPEN = f"SELECT EXISTS (SELECT FROM {SCHEMA}.audit WHERE model = '' AND action = '{AuditAction.TRAIL_OPENED}')"

_STANDING = f"""
    SELECT {SCHEMA}.append_audit(workspace, name, action, version, NULL, mark, details => details,
                                 actor => :actor, source => :source)
    FROM (
        SELECT 1, workspace, name, '{AuditAction.TRAIL_OPENED}', version, current_stage, '{{}}'::jsonb
        FROM model_versions WHERE current_stage IN ('Production', 'Staging', 'Archived')
        UNION ALL
        SELECT 2, workspace, name, '{AuditAction.ALIAS_SET}', version, version::text, jsonb_build_object('key', alias)
        FROM registered_model_aliases
        UNION ALL
        SELECT 3, workspace, name, '{AuditAction.TAG_SET}', version, value, jsonb_build_object('key', key)
        FROM model_version_tags WHERE key = '{STAGE_TAG}'
    ) AS standing (kind, workspace, name, action, version, mark, details)
    ORDER BY workspace, name, version, kind
"""

_LAST = f"""
    SELECT (SELECT coalesce(max(id), 0) FROM {SCHEMA}.registry_event),
           (SELECT coalesce(max(id), 0) FROM {SCHEMA}.promotion)
"""


_HAS_REGISTRY = "SELECT to_regclass('model_versions') IS NOT NULL"

_STAGES = """
    SELECT workspace, name, version, current_stage FROM model_versions WHERE current_stage <> 'Deleted_Internal'
    ORDER BY workspace, name, version
"""

_ALIASES = "SELECT workspace, name, alias, version FROM registered_model_aliases"


def append(connection: Connection, event: AuditEvent) -> int:
    """Append an entry in the caller's transaction, in the name of whoever acts.

    Call it last: the chain stays locked until the transaction ends.

    Returns:
        The entry's place in its chain.
    """
    who = acting()
    values = {
        "workspace": event.workspace,
        "model": event.model,
        "action": str(event.action),
        "version": event.version,
        "before": event.before,
        "after": event.after,
        "actor": who.name,
        "source": who.source.value,
        "policy_hash": event.policy_hash,
        "evidence": event.evidence,
        "promotion_id": event.promotion_id,
        "details": json.dumps(event.details or {}, default=str),
    }
    return int(connection.execute(text(_APPEND), values).scalar_one())


def say_who(connection: Connection) -> None:
    """Tell the triggers, for this transaction, who acts: for changes that they write down themselves."""
    who = acting()
    connection.execute(text(_SAY_WHO), {"actor": who.name, "source": who.source.value})


def evidence_digest(report: Any) -> str | None:
    """SHA-256 over a gates' report in canonical JSON; `None` where nothing was judged."""
    if not report:
        return None
    return hashlib.sha256(json.dumps(report, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def open_trail(connection: Connection) -> None:
    """Write down, once, which marks there are when the trail begins; what was before is not in it."""
    if connection.execute(text(_IS_OPEN)).scalar_one():
        return
    who = acting()
    if connection.execute(text(_HAS_REGISTRY)).scalar_one():
        connection.execute(text(_STANDING), {"actor": who.name, "source": who.source.value})
    last_event, last_promotion = connection.execute(text(_LAST)).one()
    details = {"last_event": last_event, "last_promotion": last_promotion}
    append(connection, AuditEvent("", AuditAction.TRAIL_OPENED, details=details))


class SqlAudit:
    """The trail of one workspace, read."""

    def __init__(self, engine: Engine, workspace: str = DEFAULT_WORKSPACE) -> None:
        """Take the database and the workspace."""
        self._engine = engine
        self._workspace = workspace

    def entries(self, model: str, *, until: datetime | None = None) -> list[AuditEntry]:
        """Give a model's entries in their order; if a time is given, up to the last one written by then.

        The clock may have been set back: entries before the last one belong to it, whatever their times say.

        Raises:
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        chain = and_(table.c.workspace == self._workspace, table.c.model == model)
        query = _SELECT.where(chain).order_by(table.c.seq)
        if until is not None:
            last = select(func.max(table.c.seq)).where(chain, table.c.at <= until)
            query = query.where(table.c.seq <= last.scalar_subquery())
        with reading(self._engine) as connection:
            return [_entry(row) for row in connection.execute(query).mappings()]

    def heads(self) -> list[AuditHead]:
        """Give every chain's head, of all workspaces.

        Raises:
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        with _snapshot(self._engine) as connection:
            return list(_heads(connection).values())

    def verify(self, model: str | None = None, expected: Iterable[AuditHead] = ()) -> list[Finding]:
        """Look for tampering, in all chains or in one model's.

        Args:
            model: Only this model's chain.
            expected: Heads exported earlier.

        Raises:
            UnavailableError: The database does not answer, or has no tables of ours.
        """
        with _snapshot(self._engine) as connection:
            return verify(connection, model, expected)


def verify(connection: Connection, model: str | None = None, expected: Iterable[AuditHead] = ()) -> list[Finding]:
    """Look for tampering in what one connection sees; see `SqlAudit.verify`."""
    chains: dict[tuple[str, str], list[AuditEntry]] = {}
    for row in connection.execute(_SELECT.order_by(table.c.workspace, table.c.model, table.c.seq)).mappings():
        entry = _entry(row)
        chains.setdefault((entry.workspace, entry.model), []).append(entry)
    heads = _heads(connection)
    findings = []
    for key in sorted(chains.keys() | heads.keys()):
        findings += check_chain(*key, chains.get(key, []), heads.get(key))
    for head in expected:
        findings += check_expected(chains.get((head.workspace, head.model), []), head)
    findings += [*_trail_begins(chains), *_not_audited(connection), *_other_evidence(connection, chains)]
    findings += _other_marks(connection, chains)
    return [finding for finding in findings if model is None or finding.model == model]


def _trail_begins(chains: dict[tuple[str, str], list[AuditEntry]]) -> Iterator[Finding]:
    if (DEFAULT_WORKSPACE, "") not in chains:
        yield Finding(DEFAULT_WORKSPACE, "", "the entry that opened the trail is gone")


def _not_audited(connection: Connection) -> Iterator[Finding]:
    """Find registry changes that the triggers saw and the trail does not have."""
    for row in connection.execute(text(_NOT_AUDITED)).mappings():
        what = f"{row['kind']} of version {row['version']} from {row['old']} to {row['new']}"
        yield Finding(row["workspace"], row["model"], f"the registry change {row['id']} ({what}) is not in the trail")


def _other_evidence(connection: Connection, chains: dict[tuple[str, str], list[AuditEntry]]) -> Iterator[Finding]:
    """Find promotions whose state or gates' report is not what the trail vouches for: evidence that was made up."""
    every = sorted((entry for entries in chains.values() for entry in entries), key=lambda entry: entry.id)
    # a renamed model's promotions go on in another chain: the newest entry counts
    told = {entry.promotion_id: entry for entry in every if entry.promotion_id}
    rows = {row.id: row for row in connection.execute(select(promotion).order_by(promotion.c.id))}
    for number, entry in sorted(told.items()):
        if number not in rows:
            yield Finding(entry.workspace, entry.model, f"promotion {number} is gone, entry {entry.seq} tells of it")
            continue
        row = rows[number]
        if evidence_digest(row.report) != entry.evidence:
            problem = f"the gates' report of promotion {number} is not the one that entry {entry.seq} vouches for"
            yield Finding(entry.workspace, entry.model, problem)
        # being claimed is no step of the trail
        if row.state != entry.after and (entry.after, row.state) != ("requested", "evaluating"):
            problem = f"promotion {number} is {row.state}, entry {entry.seq} left it {entry.after}"
            yield Finding(entry.workspace, entry.model, problem)
    begin = connection.execute(text(_BEGIN.format("last_promotion"))).scalar_one()
    for number, row in rows.items():
        if number > (begin or 0) and number not in told:
            yield Finding(row.workspace, row.model, f"promotion {number} ({row.state}) is not in the trail")


def _other_marks(connection: Connection, chains: dict[tuple[str, str], list[AuditEntry]]) -> Iterator[Finding]:
    """Find marks in MLflow's registry that no entry of the trail accounts for: the triggers were switched off."""
    if not connection.execute(text(_HAS_REGISTRY)).scalar_one():
        return
    found: dict[tuple[str, str], Marks] = {}
    for workspace, model, version, stage in connection.execute(text(_STAGES)):
        found.setdefault((workspace, model), Marks()).stages[version] = stage
    for workspace, model, alias, version in connection.execute(text(_ALIASES)):
        found.setdefault((workspace, model), Marks()).aliases[alias] = version
    for key in sorted(found.keys() | chains.keys()):
        for problem in differing(marks_of(chains.get(key, [])), found.get(key, Marks())):
            yield Finding(*key, problem)


_SELECT = select(*(cast(column, Text).label("details") if column.name == "details" else column for column in table.c))


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """Read everything as of one moment: writers go on meanwhile."""
    with moment(engine), reading(engine) as connection:
        yield connection


def _heads(connection: Connection) -> dict[tuple[str, str], AuditHead]:
    rows = connection.execute(select(audit_head).order_by(audit_head.c.workspace, audit_head.c.model)).mappings()
    return {(row["workspace"], row["model"]): AuditHead(**row) for row in rows}


def _entry(row: RowMapping) -> AuditEntry:
    return AuditEntry(**row)
