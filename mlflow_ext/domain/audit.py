"""The audit trail: what an entry is, how entries are chained, and how a tampered chain shows. Pure rules.

Each (workspace, model) has a chain of its own: an entry carries the hash of the one before it and a hash over all its
fields. PostgreSQL computes the same hash when it appends (`store/audit_functions.py`); reading is in `store/audit.py`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

GENESIS = "0" * 64
"""What the first entry of a chain has as the hash before it."""


class AuditAction(StrEnum):
    """What an entry is about, as `subject:action`. A promotion's steps are named by `promotion_action`."""

    TRAIL_OPENED = "trail:opened"
    VERSION_REGISTERED = "version:registered"
    VERSION_STAGE = "version:stage"
    VERSION_DELETED = "version:deleted"
    ALIAS_SET = "alias:set"
    ALIAS_REMOVED = "alias:removed"
    TAG_SET = "tag:set"
    TAG_REMOVED = "tag:removed"
    GUARD_MODE = "guard:mode"
    GUARD_WARNED = "guard:warned"
    GUARD_REFUSED = "guard:refused"
    TOKEN_CREATED = "token:created"  # noqa: S105  (an action)
    TOKEN_REVOKED = "token:revoked"  # noqa: S105  (an action)


def promotion_action(event: str) -> str:
    """Name the action of a promotion's step."""
    return f"promotion:{event}"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """What is to be written down; the database adds who is connected, when, and the chain.

    Attributes:
        model: Registered model.
        action: An `AuditAction`, or `promotion:<event>`.
        version: Version concerned.
        before: State before: stage, alias' version, tag value or state of the promotion.
        after: State after.
        policy_hash: Policy that judged.
        evidence: SHA-256 of the gates' report.
        promotion_id: Promotion concerned.
        details: What else belongs to it, ready for JSON.
        workspace: MLflow workspace.
    """

    model: str
    action: str
    version: int | None = None
    before: str | None = None
    after: str | None = None
    policy_hash: str | None = None
    evidence: str | None = None
    promotion_id: int | None = None
    details: dict[str, object] | None = None
    workspace: str = "default"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of a chain, as it is stored.

    Attributes:
        id: Order among the entries of all chains.
        workspace: MLflow workspace.
        model: Registered model.
        seq: Place in the chain, from 1.
        at: Database time of writing. Order is by `seq`: a clock may be set back.
        action: What happened.
        version: Version concerned.
        actor: Who did it.
        source: By which way.
        before: State before.
        after: State after.
        policy_hash: Policy that judged.
        evidence: SHA-256 of the gates' report.
        promotion_id: Promotion concerned.
        event_id: Registry event that it tells of.
        details: What else belongs to it, as PostgreSQL writes the JSON; always the connected database user.
        previous: Hash of the entry before it.
        hash: SHA-256 over everything above.
    """

    id: int
    workspace: str
    model: str
    seq: int
    at: datetime
    action: str
    version: int | None
    actor: str
    source: str
    before: str | None
    after: str | None
    policy_hash: str | None
    evidence: str | None
    promotion_id: int | None
    event_id: int | None
    details: str
    previous: str
    hash: str

    @property
    def computed(self) -> str:
        """SHA-256 over the fields: each as its length in bytes, a colon and itself, or `-` where there is none."""
        fields = (
            *(self.id, self.workspace, self.model, self.seq),
            self.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f"),
            *(self.action, self.version, self.actor, self.source, self.before, self.after),
            *(self.policy_hash, self.evidence, self.promotion_id, self.event_id, self.details),
            self.previous,
        )
        digest = hashlib.sha256()
        for field in fields:
            encoded = str(field).encode()
            digest.update(b"-" if field is None else b"%d:%s" % (len(encoded), encoded))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class AuditHead:
    """How long a chain is and how it ends; kept apart from the chain, so that a cut-off end shows.

    Attributes:
        workspace: MLflow workspace.
        model: Registered model.
        length: Number of entries.
        hash: Hash of the last one.
    """

    workspace: str
    model: str
    length: int
    hash: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a trail.

    Attributes:
        workspace: MLflow workspace.
        model: Registered model.
        problem: What was found, for people.
    """

    workspace: str
    model: str
    problem: str


def check_chain(workspace: str, model: str, entries: Sequence[AuditEntry], head: AuditHead | None) -> list[Finding]:
    """Compare a chain with itself and with its head.

    Args:
        workspace: MLflow workspace.
        model: Registered model.
        entries: All entries that the table has for it, by `seq`.
        head: Its head; `None` when there is none.

    Returns:
        What is wrong; empty for an untouched chain.
    """
    problems = []
    expected, previous = 1, GENESIS
    for entry in entries:
        if entry.seq != expected:
            problems.append(f"entry {expected} is missing" if entry.seq > expected else f"entry {entry.seq} is doubled")
        if entry.computed != entry.hash:
            problems.append(f"entry {entry.seq} was changed after it was written")
        if entry.previous != previous and entry.seq == expected:
            problems.append(f"entry {entry.seq} does not follow the one before it")
        expected, previous = entry.seq + 1, entry.hash
    if head is None:
        if entries:
            problems.append(f"the chain's head is gone; there are {len(entries)} entries")
    elif head.length != expected - 1:
        problems.append(f"the chain should have {head.length} entries and ends with entry {expected - 1}")
    elif head.hash != previous:
        problems.append("the chain's end is not the one that its head names")
    return [Finding(workspace, model, problem) for problem in problems]


def check_expected(entries: Sequence[AuditEntry], expected: AuditHead) -> list[Finding]:
    """Compare a chain with a head that was exported earlier: the chain may have grown since, not changed."""
    then = next((entry for entry in entries if entry.seq == expected.length), None)
    if then is None:
        problem = f"had {expected.length} entries when its head was exported, now the last is {_last(entries)}"
    elif then.hash != expected.hash:
        problem = f"entry {expected.length} is another one than when its head was exported"
    else:
        return []
    return [Finding(expected.workspace, expected.model, problem)]


def _last(entries: Sequence[AuditEntry]) -> str:
    return f"entry {entries[-1].seq}" if entries else "none"
