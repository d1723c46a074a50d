"""Promotions over REST: who asks becomes who acts, and a request with a key is done once. No HTTP here: `routes/`.

What is done is in `mlflow_ext/lifecycle`; which right it takes stands in `access.py`.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from mlflow_ext.bootstrap import Lifecycle
from mlflow_ext.domain.actors import Actor, Source, acting_as
from mlflow_ext.domain.promotion import Promotion
from mlflow_ext.errors import ConflictError, GateRefusedError, InvalidInputError, MlflowExtError, NotFoundError
from mlflow_ext.lifecycle.request_promotion import override_promotion, production_version, request_promotion
from mlflow_ext.store.answered_requests import AnsweredRequests, Document
from serving.authority import Caller
from serving.codecs.answer import Answer
from serving.refusals import refusal

Verb = Literal["approve", "reject", "abort"]
REPLAYED = "Idempotency-Replayed"
"""Header of an answer that was given before."""
_LONGEST_KEY = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that changes something.

    Attributes:
        caller: Who asks.
        route: Method and path, as a part of what a key stands for.
        body: What the request says.
        key: Value of `Idempotency-Key`, if there is one.
    """

    caller: Caller
    route: str
    body: Document
    key: str | None = None

    @property
    def actor(self) -> Actor:
        """Who acts, as the audit trail names them."""
        token = f"token {self.caller.token_id}" if self.caller.token_id else "anonymous"
        return Actor(f"{Source.REST.value}:{self.caller.owner or token}", Source.REST)

    @property
    def fingerprint(self) -> str:
        """Digest of what is asked."""
        return hashlib.sha256(json.dumps([self.route, self.body], sort_keys=True).encode()).hexdigest()


class Control:
    """What the routes of promotions call; every method waits for PostgreSQL, some for MLflow."""

    def __init__(self, parts: Lifecycle, answered: AnsweredRequests) -> None:
        """Take the lifecycle's adapters, and the requests that were answered."""
        self._parts = parts
        self._answered = answered

    def request(self, asked: Asked) -> Answer:
        """Ask for a promotion: `model`, `version`, `dry_run`, `override_reason`."""
        body, promotions, view = asked.body, self._parts.promotions, self._parts.view
        common: dict[str, Any] = {
            "source": Source.REST.value,
            "cause": f"rest:{asked.caller.token_id}:{asked.key or uuid.uuid4().hex}",
            "requested_by": asked.actor.name,
        }

        def act(_: Document) -> Document:
            about = (body["model"], body["version"], view, promotions)
            if body["override_reason"] is None:
                return self._told(request_promotion(*about, **common, dry_run=body["dry_run"]))
            if body["dry_run"]:
                raise InvalidInputError("a dry run changes nothing, so there is nothing to override")
            return self._told(override_promotion(*about, **common, reason=body["override_reason"]))

        return self._once(asked, act, status=202)

    def decide(self, asked: Asked, verb: Verb, promotion_id: int) -> Answer:
        """Approve, reject or abort a promotion: `comment`."""
        self.visible(asked.caller, promotion_id)
        decision = getattr(self._parts.decisions, verb)
        return self._once(asked, lambda _: self._told(decision(promotion_id, asked.body["comment"])))

    def roll_back(self, asked: Asked, model: str) -> Answer:
        """Bring a model back to its last good version: `comment`, `from_version`."""

        def plan() -> Document:
            current = production_version(model, self._parts.view)
            wanted = asked.body["from_version"]
            if wanted is not None and wanted != current:
                raise ConflictError(f"{_version(current)} of {model} is in Production, not version {wanted}")
            return {"from_version": current}

        def act(planned: Document) -> Document:
            now = production_version(model, self._parts.view)
            if now is not None and now != planned["from_version"]:
                # an earlier try of this request got so far, and could not say so
                return {"model": model, **planned, "to_version": now}
            done = self._parts.take_back(model, asked.body["comment"])
            return {"model": model, "from_version": done.from_version, "to_version": done.to_version}

        return self._once(asked, act, plan)

    def find(self, caller: Caller, model: str | None, *, open_only: bool, limit: int) -> list[Document]:
        """Give the promotions that the caller may see, newest first."""
        if caller.models is None or model is not None:
            names: Sequence[str | None] = [model] if model is None or caller.sees(model) else []
        else:
            names = sorted(caller.models)
        found = [one for name in names for one in self._parts.promotions.find(name, open_only=open_only, limit=limit)]
        return [document(one) for one in sorted(found, key=lambda one: -one.id)[:limit]]

    def get(self, caller: Caller, promotion_id: int) -> Document:
        """Give one promotion with its story and the words of people."""
        promotion = self.visible(caller, promotion_id)
        return {
            **document(promotion),
            "story": [_plain(dict(step)) for step in self._parts.promotions.story(promotion_id)],
            "approvals": [_plain(asdict(word)) for word in self._parts.approvals.of(promotion_id)],
        }

    def visible(self, caller: Caller, promotion_id: int) -> Promotion:
        """Give a promotion of a model that the caller may see.

        Raises:
            NotFoundError: There is none, or the caller may not see it.
        """
        promotion = self._parts.promotions.get(promotion_id)
        if not caller.sees(promotion.model):
            raise NotFoundError(f"there is no promotion {promotion_id}")
        return promotion

    def _once(
        self,
        asked: Asked,
        act: Callable[[Document], Document],
        plan: Callable[[], Document] = dict,
        status: int = 200,
    ) -> Answer:
        def answered(planned: Document) -> Document:
            try:
                with acting_as(asked.actor):
                    return {"status": status, "body": act(planned)}
            except (NotFoundError, ConflictError, GateRefusedError, InvalidInputError) as exc:
                return _refused(exc)

        def planned() -> Document:
            try:
                return plan()
            except (NotFoundError, ConflictError) as exc:
                return {"refused": _refused(exc)}

        def kept(plans: Document) -> Document:
            return plans["refused"] if "refused" in plans else answered(plans)

        if asked.key is None:
            found, again = kept(planned()), False
        else:
            if not (asked.key.isascii() and asked.key.isprintable() and 0 < len(asked.key) <= _LONGEST_KEY):
                raise InvalidInputError(f"Idempotency-Key must be 1 to {_LONGEST_KEY} printable ASCII characters")
            found, again = self._answered.once(asked.caller.token_id, asked.key, asked.fingerprint, planned, kept)
        headers = {REPLAYED: "true"} if again else {}
        if "error" in found:
            return Answer(found["status"], error=found["error"], headers=headers)
        if found["status"] == 202:
            headers["Location"] = f"/promotions/{found['body']['id']}"
        return Answer(found["status"], json.dumps(found["body"], sort_keys=True).encode(), headers=headers)

    def _told(self, promotion: Promotion) -> Document:
        return document(promotion)


def document(promotion: Promotion) -> Document:
    """Write a promotion as JSON has it."""
    told: Document = _plain({**asdict(promotion), "next_step": promotion.next_step})
    return told


def _refused(exc: MlflowExtError) -> Document:
    answer = refusal(exc)
    return {"status": answer.status, "error": answer.error}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value.isoformat() if isinstance(value, datetime) else value


def _version(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"
