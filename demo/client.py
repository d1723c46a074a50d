"""The application that scores all along: one request after another, each counted, none retried."""

import threading
from collections import Counter
from dataclasses import dataclass, field

import httpx

PAUSE_S = 0.02


@dataclass
class Tally:
    """What the client has seen so far.

    Attributes:
        answered: Requests answered with 200.
        lost: Requests answered with anything else, or not at all.
        by_version: Answers by model version.
        failures: The first few failures, in words.
    """

    answered: int = 0
    lost: int = 0
    by_version: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class ScoringClient(threading.Thread):
    """Scores one row after another from a thread of its own until it is stopped."""

    def __init__(self, url: str, bodies: list[bytes], token: str | None = None) -> None:
        """Take the scoring address, the request bodies to send in turn, and the token that the service asks for."""
        super().__init__(name="scoring-client", daemon=True)
        self.tally = Tally()
        self._url = url
        self.bodies = bodies
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._stopped = threading.Event()

    def is_answered(self) -> bool:
        """Try one request that does not count, to know when there is something to score with."""
        return httpx.post(self._url, content=self.bodies[0], headers=self._headers, timeout=10).status_code == 200

    def run(self) -> None:
        """Score until stopped."""
        with httpx.Client(timeout=10, headers=self._headers) as session:
            turn = 0
            while not self._stopped.is_set():
                bodies = self.bodies
                self._score(session, bodies[turn % len(bodies)])
                turn += 1
                self._stopped.wait(PAUSE_S)

    def stop(self) -> Tally:
        """Finish the request under way and give the count."""
        self._stopped.set()
        self.join(15)
        return self.tally

    def _score(self, session: httpx.Client, body: bytes) -> None:
        tally = self.tally
        try:
            answer = session.post(self._url, content=body)
        except httpx.TransportError as exc:
            tally.lost += 1
            self._remember(f"{type(exc).__name__}: {exc}")
            return
        if answer.status_code != 200:
            tally.lost += 1
            self._remember(f"{answer.status_code}: {answer.text[:200]}")
            return
        version = answer.headers.get("X-Model-Version", "?")
        tally.answered += 1
        tally.by_version[version] += 1

    def _remember(self, failure: str) -> None:
        if len(self.tally.failures) < 5:
            self.tally.failures.append(failure)
