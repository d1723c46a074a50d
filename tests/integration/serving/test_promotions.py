"""Promotions over REST: a real service with its worker, MLflow, PostgreSQL, and tokens of different people."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from mlflow_ext.domain.tokens import Right
from mlflow_ext.registry.client import MlflowRegistry
from mlflow_ext.store.audit import SqlAudit
from mlflow_ext.store.engine import make_engine
from mlflow_ext.store.registry_view import SqlRegistryView
from mlflow_ext.store.tokens import Tokens
from serving.control import REPLAYED
from tests.conftest import wait_until
from tests.integration.registered import constant, register
from tests.integration.serving.conftest import Stage
from tests.integration.serving.service import Service, service


@dataclass(frozen=True, slots=True)
class Desk:
    """A service, and people with tokens.

    Attributes:
        service: The service.
        tokens: Tokens by person.
        mlflow_url: MLflow.
        database_url: The database.
    """

    service: Service
    tokens: dict[str, str]
    mlflow_url: str
    database_url: str

    def ask(self, who: str, method: str, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        """Send a request as somebody."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} | ({"Idempotency-Key": key} if key else {})
        body = {} if body is None and method == "POST" else body
        return httpx.request(method, f"{self.service.url}{path}", json=body, headers=headers, timeout=60)

    def promotion(self, number: int) -> Any:
        """Look at a promotion."""
        return self.ask("reader", "GET", f"/promotions/{number}").json()

    def wait_state(self, number: int, state: str) -> None:
        """Wait until a promotion is in a state."""
        wait_until(lambda: self.promotion(number)["state"] == state, 60, lambda: self.service.log)

    def approved(self, model: str, version: int) -> int:
        """Bring a version to Production: asked for by alice, approved by bob; gives the promotion."""
        asked = self.ask("alice", "POST", "/promotions", {"model": model, "version": version})
        assert asked.status_code == 202, asked.text
        number = int(asked.json()["id"])
        assert asked.headers["location"] == f"/promotions/{number}"
        self.wait_state(number, "awaiting_approval")
        assert self.ask("bob", "POST", f"/promotions/{number}/approve", {"comment": "fine"}).status_code == 200
        self.wait_state(number, "promoted")
        return number


@pytest.fixture(scope="module")
def desk(mlflow_database_url: str, mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A service that asks for tokens; its models have no gates, so that every promotion waits for a person."""
    engine = make_engine(mlflow_database_url)
    made = {
        "alice": Tokens(engine).create([Right.PROMOTE], owner="alice"),
        "bob": Tokens(engine).create([Right.APPROVE], owner="bob"),
        "reader": Tokens(engine).create([Right.READ]),
        "other": Tokens(engine).create([Right.ADMIN], models=["another model"]),
    }
    engine.dispose()
    directory = tmp_path_factory.mktemp("desk")
    roles = ("--role", "scoring,promotion")
    with service(mlflow_database_url, mlflow_url, directory, *roles, auth="token", reconcile_s="2") as running:
        yield Desk(running, {who: text for who, (_, text) in made.items()}, mlflow_url, mlflow_database_url)


def versions(desk: Desk, model: str, count: int) -> None:
    """Register so many versions."""
    for value in range(count):
        register(desk.mlflow_url, model, constant(float(value)))


def test_promote_approve_look_and_roll_back(desk: Desk) -> None:
    """Each step by whoever has the right for it, in their name; nobody else can, and limited tokens see nothing."""
    model = "rest story"
    versions(desk, model, 2)
    first, second = desk.approved(model, 1), desk.approved(model, 2)
    document = desk.promotion(second)
    told = [step["event"] for step in document["story"] if step["event"] != "claim"]
    assert told == ["requested", "approval_needed", "approved", "published"]
    assert document["approvals"][0]["actor"] == "rest:bob"
    assert document["requested_by"] == "rest:alice"
    listed = desk.ask("reader", "GET", "/promotions?model=rest%20story").json()["promotions"]
    assert [one["id"] for one in listed] == [second, first]
    assert desk.ask("reader", "GET", "/promotions?open=true&model=rest%20story").json() == {"promotions": []}

    for who, path, status in (
        ("alice", f"/promotions/{second}/approve", 403),
        ("bob", f"/promotions/{second}/abort", 403),
        ("bob", "/models/rest%20story/rollback", 403),
        ("other", f"/promotions/{second}/reject", 404),
        ("other", "/models/rest%20story/rollback", 403),
        ("bob", f"/promotions/{first}/approve", 200),  # said before: nothing changes
        ("alice", f"/promotions/{first}/abort", 409),
        ("alice", "/promotions/999999/abort", 404),
    ):
        assert desk.ask(who, "POST", path).status_code == status, (who, path)
    hidden = desk.ask("other", "POST", "/promotions", {"model": model, "version": 1})
    assert (hidden.status_code, hidden.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert desk.ask("other", "GET", "/promotions").json() == {"promotions": []}
    assert desk.ask("other", "GET", f"/promotions/{second}").status_code == 404

    conditional = desk.ask("alice", "POST", "/models/rest%20story/rollback", {"from_version": 1})
    assert (conditional.status_code, "version 2 of" in conditional.json()["message"]) == (409, True)
    back = desk.ask("alice", "POST", "/models/rest%20story/rollback", {"from_version": 2, "comment": "complaints"})
    assert back.json() == {"model": model, "from_version": 2, "to_version": 1}
    assert desk.promotion(second)["state"] == "rolled_back"
    engine = make_engine(desk.database_url)
    trail = {entry.action: (entry.actor, entry.source) for entry in SqlAudit(engine).entries(model)}
    engine.dispose()
    assert trail["promotion:requested"] == ("rest:alice", "rest")
    assert trail["promotion:approved"] == ("rest:bob", "rest")
    assert trail["promotion:roll_back"] == ("rest:alice", "rest")


def test_a_hundred_deliveries_of_one_request_have_one_effect(desk: Desk) -> None:
    """The same key and body: one promotion and one answer, byte for byte; another body is refused."""
    model = "rest parallel"
    versions(desk, model, 2)
    body = {"model": model, "version": 1}

    def deliver(_: int) -> httpx.Response:
        return desk.ask("alice", "POST", "/promotions", body, key="release 1")

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(deliver, range(100)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1
    assert len(desk.ask("reader", "GET", "/promotions?model=rest%20parallel").json()["promotions"]) == 1
    other = desk.ask("alice", "POST", "/promotions", {**body, "version": 2}, key="release 1")
    assert (other.status_code, "was used for another request" in other.json()["message"]) == (409, True)

    def deliver_without(_: int) -> int:
        answer = desk.ask("alice", "POST", "/promotions", {"model": model, "version": 2})
        return int(answer.json()["id"])

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(deliver_without, range(100)))) == 1


def test_a_rollback_delivered_in_parallel_happens_once(desk: Desk) -> None:
    """Version 3 is taken back to 2, and not to 1 by the second delivery; a refusal is remembered as well."""
    model = "rest rollbacks"
    versions(desk, model, 3)
    for version in (1, 2, 3):
        desk.approved(model, version)
    path = "/models/rest%20rollbacks/rollback"
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: desk.ask("alice", "POST", path, {}, key="back").json(), range(20)))
    assert answers == [{"model": model, "from_version": 3, "to_version": 2}] * 20
    states = [
        one["state"] for one in desk.ask("reader", "GET", "/promotions?model=rest%20rollbacks").json()["promotions"]
    ]
    assert states == ["rolled_back", "promoted", "promoted"]
    for _ in range(2):
        refused = desk.ask("alice", "POST", path, {"from_version": 3}, key="back again")
        assert refused.status_code == 409
    assert refused.headers[REPLAYED] == "true"


def test_abort_and_reject_over_rest(desk: Desk) -> None:
    """An open promotion ends; its version stays where it is."""
    model = "rest ends"
    versions(desk, model, 2)
    numbers = []
    for version in (1, 2):
        numbers.append(desk.ask("alice", "POST", "/promotions", {"model": model, "version": version}).json()["id"])
        desk.wait_state(numbers[-1], "awaiting_approval")
    aborted = desk.ask("alice", "POST", f"/promotions/{numbers[0]}/abort", {"comment": "wrong one"}).json()
    assert (aborted["state"], aborted["reason"]) == ("aborted", "aborted by rest:alice: wrong one")
    rejected = desk.ask("bob", "POST", f"/promotions/{numbers[1]}/reject", key="no").json()
    assert rejected["state"] == "rejected"
    assert desk.ask("bob", "POST", f"/promotions/{numbers[1]}/reject", key="no").json() == rejected
    assert desk.ask("bob", "POST", f"/promotions/{numbers[1]}/reject").status_code == 409


def test_a_promotion_has_its_version_loaded_before_it_is_production(desk: Desk) -> None:
    """A version that no mark puts into Staging is loaded while its promotion waits, and dropped when it is rejected."""
    model = "rest ahead"
    versions(desk, model, 3)

    def loaded() -> list[int]:
        found = httpx.get(f"{desk.service.url}/models/rest%20ahead", headers=reading, timeout=30)
        return [one["version"] for one in found.json().get("loaded", [])]

    reading = {"Authorization": f"Bearer {desk.tokens['reader']}"}
    desk.approved(model, 1)
    wait_until(lambda: loaded() == [1], 120, lambda: desk.service.log)
    numbers = {}
    for version in (2, 3):
        asked = desk.ask("alice", "POST", "/promotions", {"model": model, "version": version})
        numbers[version] = asked.json()["id"]
        desk.wait_state(numbers[version], "awaiting_approval")
    wait_until(lambda: loaded() == [1, 2, 3], 120, lambda: desk.service.log)
    engine = make_engine(desk.database_url)
    stages = {one.version: one.stage for one in SqlRegistryView(engine).versions(model)}
    engine.dispose()
    assert stages == {1: Stage.PRODUCTION, 2: Stage.NONE, 3: Stage.NONE}
    assert desk.ask("bob", "POST", f"/promotions/{numbers[3]}/reject").status_code == 200
    wait_until(lambda: loaded() == [1, 2], 120, lambda: desk.service.log)
    loads = desk.service.log.count(f"event=version_loaded model='{model}' version=2")
    assert desk.ask("bob", "POST", f"/promotions/{numbers[2]}/approve").status_code == 200
    desk.wait_state(numbers[2], "promoted")
    # it was there already: the flip loaded nothing
    assert desk.service.log.count(f"event=version_loaded model='{model}' version=2") == loads == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"model": "m"}', 400),
        (b'{"model": "m", "version": "1"}', 400),
        (b'{"model": "m", "version": 1, "colour": "red"}', 400),
        (b'{"model": "m", "version": 0}', 400),
        (b'{"model": "no such model", "version": 1}', 404),
        (b'{"model": "no such model", "version": 1, "dry_run": true, "override_reason": "x"}', 400),
        (b"[" * 100_000, 400),
    ],
)
def test_what_cannot_be_understood_is_refused_in_words(desk: Desk, body: bytes, status: int) -> None:
    """Every mistake is a 4xx with a code; another content type is 415, so that no web page can send it unasked."""
    headers = {"Authorization": f"Bearer {desk.tokens['alice']}", "Content-Type": "application/json"}
    answer = httpx.post(f"{desk.service.url}/promotions", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error_code"]
    plain = {**headers, "Content-Type": "text/plain"}
    assert httpx.post(f"{desk.service.url}/promotions", content=body, headers=plain).status_code == 415


def test_an_override_over_rest_needs_a_reason(desk: Desk, registry: MlflowRegistry) -> None:
    """Past the gates in the token owner's name."""
    model = "rest override"
    versions(desk, model, 1)
    body = {"model": model, "version": 1}
    empty = desk.ask("alice", "POST", "/promotions", {**body, "override_reason": " "})
    assert (empty.status_code, "needs a reason" in empty.json()["message"]) == (400, True)
    number = desk.ask("alice", "POST", "/promotions", {**body, "override_reason": "incident 7"}).json()["id"]
    desk.wait_state(number, "promoted")
    assert "past its gates, by rest:alice: incident 7" in desk.promotion(number)["reason"]
    registry.set_stage(model, 1, Stage.ARCHIVED)
