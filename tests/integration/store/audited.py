"""A model's story in the audit trail, and ways to tamper with it that a determined administrator has.

With `session_replication_role = replica` no trigger runs: whoever may set it can write anything anywhere.
"""

import random
from collections.abc import Callable, Sequence

from mlflow import MlflowClient
from sqlalchemy import Connection, Engine, text

from mlflow_ext.domain.promotion import PromotionEvent, PromotionState
from mlflow_ext.domain.stages import Stage
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.store.promotions import SqlPromotions

Tamper = Callable[[Connection, random.Random], str]

_COLUMNS = {
    "at": "at + interval '1 second'",
    "action": "action || '!'",
    "version": "coalesce(version, 0) + 1",
    "actor": "actor || '2'",
    "source": "source || '2'",
    "before": "coalesce(before, '') || '.'",
    "after": "CASE WHEN after = 'Production' THEN 'Archived' ELSE 'Production' END",
    "policy_hash": "coalesce(policy_hash, '') || '0'",
    "evidence": "coalesce(evidence, '') || '0'",
    "promotion_id": "coalesce(promotion_id, 0) + 1",
    "event_id": "coalesce(event_id, 0) + 1",
    "details": """details || '{"note": "nothing to see here"}'""",
    "previous": "repeat('0', 63) || '1'",
    "hash": "reverse(hash)",
}


def write_story(engine: Engine, models: Sequence[str] = ("wine", "beer"), rounds: int = 4) -> None:
    """Register versions, judge them, move them by every mark: some dozens of entries in each chain."""
    url = engine.url.render_as_string(hide_password=False)
    client = MlflowClient(url, url)
    registry, promotions = MlflowRegistry(client), SqlPromotions(engine, owner="worker")
    for model in models:
        client.create_registered_model(model)
        for turn in range(1, rounds + 1):
            client.create_model_version(model, f"s3://bucket/{turn}")
            registry.set_stage(model, turn, Stage.STAGING)
            promotions.request(model, turn, source="cli", cause=f"test:{turn}", requested_by="alice")
            promotion = promotions.claim()
            assert promotion is not None
            judged = promotions.record(
                promotion,
                PromotionEvent.GATES_PASSED,
                note="all gates passed",
                values={"report": {"results": [{"value": 0.1 + turn / 7}]}, "policy_hash": f"{turn:064d}"},
            )
            registry.set_stage(model, turn, Stage.PRODUCTION)
            promotions.record(judged, PromotionEvent.PUBLISHED, note="published")
            registry.set_alias(model, "production", turn)
            registry.set_tags(model, turn, {"stage": "Production", "team": "red"})
        assert promotions.find(model)[0].state is PromotionState.PROMOTED


def edit(connection: Connection, dice: random.Random) -> str:
    """Change one field of one entry."""
    column = dice.choice(sorted(_COLUMNS))
    number = dice.choice(_ids(connection))
    connection.execute(
        text(f"UPDATE mlflow_ext.audit SET {column} = {_COLUMNS[column]} WHERE id = :id"), {"id": number}
    )
    return f"edit {column} of {number}"


def edit_and_hash_again(connection: Connection, dice: random.Random) -> str:
    """Change one field and give the entry the hash that belongs to its new content."""
    column = dice.choice(sorted(set(_COLUMNS) - {"hash", "previous"}))
    number = dice.choice(_ids(connection))
    connection.execute(
        text(f"UPDATE mlflow_ext.audit SET {column} = {_COLUMNS[column]} WHERE id = :id"), {"id": number}
    )
    connection.execute(
        text("UPDATE mlflow_ext.audit a SET hash = mlflow_ext.audit_hash(a) WHERE id = :id"), {"id": number}
    )
    return f"edit {column} of {number}, hashed again"


def delete(connection: Connection, dice: random.Random) -> str:
    """Remove one entry, anywhere."""
    number = dice.choice(_ids(connection))
    connection.execute(text("DELETE FROM mlflow_ext.audit WHERE id = :id"), {"id": number})
    return f"delete {number}"


def delete_and_close_up(connection: Connection, dice: random.Random) -> str:
    """Remove one entry, move those behind it up, and shorten the head."""
    model = dice.choice(["wine", "beer"])
    seq = dice.randint(1, _length(connection, model))
    values = {"model": model, "seq": seq}
    connection.execute(text("DELETE FROM mlflow_ext.audit WHERE model = :model AND seq = :seq"), values)
    # one after the other: the places are unique
    for later in range(seq + 1, _length(connection, model) + 1):
        connection.execute(
            text("UPDATE mlflow_ext.audit SET seq = seq - 1 WHERE model = :model AND seq = :later"),
            {"model": model, "later": later},
        )
    connection.execute(text("UPDATE mlflow_ext.audit_head SET length = length - 1 WHERE model = :model"), values)
    return f"delete {model} {seq}, closed up"


def reorder(connection: Connection, dice: random.Random) -> str:
    """Let two entries of a chain change places."""
    model = dice.choice(["wine", "beer"])
    one, other = dice.sample(range(1, _length(connection, model) + 1), 2)
    for before, after in ((one, -1), (other, one), (-1, other)):
        connection.execute(
            text("UPDATE mlflow_ext.audit SET seq = :after WHERE model = :model AND seq = :before"),
            {"model": model, "before": before, "after": after},
        )
    return f"reorder {model} {one} {other}"


def truncate(connection: Connection, dice: random.Random) -> str:
    """Cut some entries off the end."""
    model = dice.choice(["wine", "beer"])
    length = _length(connection, model)
    left = dice.randint(0, length - 1)
    connection.execute(
        text("DELETE FROM mlflow_ext.audit WHERE model = :model AND seq > :left"), {"model": model, "left": left}
    )
    return f"truncate {model} to {left} of {length}"


def truncate_with_head(connection: Connection, dice: random.Random) -> str:
    """Cut off the end and mend the head, so that the chain fits itself again."""
    told = truncate(connection, dice)
    for model in ("wine", "beer"):
        connection.execute(
            text(
                "UPDATE mlflow_ext.audit_head h SET (length, hash) = (SELECT a.seq, a.hash FROM mlflow_ext.audit a "
                "WHERE a.model = h.model ORDER BY a.seq DESC LIMIT 1) WHERE h.model = :model "
                "AND EXISTS (SELECT FROM mlflow_ext.audit a WHERE a.model = :model)"
            ),
            {"model": model},
        )
        connection.execute(
            text(
                "DELETE FROM mlflow_ext.audit_head WHERE model = :model "
                "AND NOT EXISTS (SELECT FROM mlflow_ext.audit WHERE model = :model)"
            ),
            {"model": model},
        )
    return f"{told}, with its head"


def rewrite(connection: Connection, dice: random.Random) -> str:
    """Change an entry and hash the whole chain again from there, head included: nothing in the database tells."""
    model = dice.choice(["wine", "beer"])
    seq = dice.randint(1, _length(connection, model))
    values = {"model": model, "seq": seq}
    connection.execute(
        text("UPDATE mlflow_ext.audit SET actor = 'mallory' WHERE model = :model AND seq = :seq"), values
    )
    for later in range(seq, _length(connection, model) + 1):
        values = {"model": model, "seq": later}
        connection.execute(
            text(
                "UPDATE mlflow_ext.audit a SET previous = coalesce((SELECT b.hash FROM mlflow_ext.audit b "
                "WHERE b.model = :model AND b.seq = :seq - 1), repeat('0', 64)) WHERE model = :model AND seq = :seq"
            ),
            values,
        )
        connection.execute(
            text("UPDATE mlflow_ext.audit a SET hash = mlflow_ext.audit_hash(a) WHERE model = :model AND seq = :seq"),
            values,
        )
    connection.execute(
        text(
            "UPDATE mlflow_ext.audit_head SET hash = (SELECT hash FROM mlflow_ext.audit "
            "WHERE model = :model ORDER BY seq DESC LIMIT 1) WHERE model = :model"
        ),
        values,
    )
    return f"rewrite {model} from {seq}"


WITHOUT_EXPORT: tuple[Tamper, ...] = (edit, edit_and_hash_again, delete, delete_and_close_up, reorder, truncate)
"""Found by the chain and its head alone."""
WITH_EXPORT: tuple[Tamper, ...] = (*WITHOUT_EXPORT, truncate_with_head, rewrite)
"""Found when heads were exported before."""


def _ids(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT id FROM mlflow_ext.audit ORDER BY id")).scalars())


def _length(connection: Connection, model: str) -> int:
    query = text("SELECT length FROM mlflow_ext.audit_head WHERE model = :model")
    return int(connection.execute(query, {"model": model}).scalar_one())
