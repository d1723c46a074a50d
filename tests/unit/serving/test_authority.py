"""Judging the `Authorization` header: good, bad, expired, revoked, limited, and how long that takes."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ext.domain.tokens import Right
from serving import authority as module
from serving.authority import REMEMBERED, Authority, Caller, Refusal, authorization_of
from tests.unit.serving.tokens import AHEAD, PAST, bearer, token

GOOD, TEXT = token(Right.SCORE)


def knowing(*tokens: object) -> Authority:
    """Make an authority that has read some tokens."""
    authority = Authority()
    authority.renew(tokens)  # type: ignore[arg-type]
    return authority


def reason(found: Caller | Refusal) -> str | None:
    """Say why a request is refused; `None` when it is not."""
    return found.reason if isinstance(found, Refusal) else None


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (None, "missing"),
        (b"", "malformed"),
        (b"Bearer", "malformed"),
        (b"Bearer ", "malformed"),
        (b"Basic dXNlcjpwYXNz", "malformed"),
        (TEXT.encode(), "malformed"),
        (b"Bearer something-else", "malformed"),
        (bearer(TEXT[:-1]), "malformed"),
        (bearer(TEXT + "x"), "malformed"),
        (bearer(TEXT) + b"\n", "malformed"),
        (bearer(TEXT) + b", " + bearer(TEXT), "malformed"),
        (bearer(TEXT.upper()), "malformed"),
        (bearer(TEXT).replace(b" ", b"\t"), "malformed"),
        (b"Bearer " + bytes(range(128, 256)), "malformed"),
        (bearer(token(Right.ADMIN)[1]), "unknown"),
        (bearer(TEXT[:-43] + "A" * 43), "unknown"),
        (bearer(TEXT), None),
        (b"bearer   " + TEXT.encode() + b" ", None),
        (b"BEARER " + TEXT.encode(), None),
    ],
    # tokens are made anew for each run
    ids=[str(number) for number in range(19)],
)
def test_only_the_whole_token_is_good(header: bytes | None, why: str | None) -> None:
    """Anything but `Bearer` and exactly one known token is refused; the scheme's case is free (RFC 9110)."""
    authority = knowing(GOOD)
    for _ in range(2):  # the second answer may come from memory
        assert reason(authority.check(header, "score", "wine")) == why


@given(st.binary(max_size=120))
def test_no_other_bytes_are_good(header: bytes) -> None:
    """Whatever is sent is refused with 401, never with a failure."""
    found = knowing(GOOD).check(header, "score", None)
    assert isinstance(found, Refusal)
    assert found.status == 401


def test_a_token_that_ended_says_so_to_its_owner_only() -> None:
    """Expired and revoked tokens are told apart; who does not know the secret learns nothing."""
    expired, expired_text = token(Right.SCORE, expires_at=PAST)
    revoked, revoked_text = token(Right.SCORE, revoked_at=PAST, expires_at=PAST)
    authority = knowing(expired, revoked)
    assert reason(authority.check(bearer(expired_text), "score", None)) == "expired"
    assert reason(authority.check(bearer(revoked_text), "score", None)) == "revoked"
    assert reason(authority.check(bearer(revoked_text[:-43] + "A" * 43), "score", None)) == "unknown"


def test_expiry_needs_no_new_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was good a moment ago is refused from its expiry on, also out of memory."""
    at = datetime.now(UTC) + timedelta(hours=1)
    good, text = token(Right.SCORE, expires_at=at)
    authority = knowing(good)
    assert reason(authority.check(bearer(text), "score", None)) is None
    monkeypatch.setattr(module, "time", lambda: at.timestamp())
    assert reason(authority.check(bearer(text), "score", None)) == "expired"


@pytest.mark.parametrize("held", list(Right))
@pytest.mark.parametrize("needed", list(Right))
def test_a_right_allows_itself_and_admin_allows_everything(held: Right, needed: Right) -> None:
    """No right contains another, except that `admin` contains all."""
    good, text = token(held)
    found = knowing(good).check(bearer(text), needed, "wine")
    assert reason(found) == (None if held in {needed, Right.ADMIN} else "right")
    if isinstance(found, Refusal):
        assert (found.status, f'scope="{needed}"' in found.challenge) == (403, True)


def test_a_token_may_be_limited_to_models() -> None:
    """A limited token is good for its models alone: for no other, and not for the service as a whole; `admin` too."""
    for right in (Right.SCORE, Right.ADMIN):
        good, text = token(right, models={"wine", "beer"})
        authority = knowing(good)
        assert reason(authority.check(bearer(text), "score", "wine")) is None
        assert reason(authority.check(bearer(text), "score", "beer")) is None
        assert reason(authority.check(bearer(text), "score", "Wine")) == "model"
        assert reason(authority.check(bearer(text), "score", None)) == "model"
        seen = authority.allow(bearer(text), "score")
        assert isinstance(seen, Caller)
        assert (seen.sees("wine"), seen.sees("gin")) == (True, False)


def test_new_tokens_replace_the_old_ones_at_once() -> None:
    """What was remembered of former tokens is forgotten with them."""
    other, other_text = token(Right.SCORE)
    authority = knowing(GOOD)
    assert reason(authority.check(bearer(TEXT), "score", None)) is None
    assert authority.renew([other])
    assert reason(authority.check(bearer(TEXT), "score", None)) == "unknown"
    assert reason(authority.check(bearer(other_text), "score", None)) is None
    assert not authority.renew([other])


def test_before_the_first_reading_nobody_is_let_in() -> None:
    """Tokens that could not be read yet are no reason to open the door, nor to call a good token bad."""
    authority = Authority()
    assert not authority.is_ready
    assert reason(authority.check(None, "score", None)) == "missing"
    unread = authority.check(bearer(TEXT), "score", None)
    assert isinstance(unread, Refusal)
    assert (unread.reason, unread.status) == ("unread", 503)
    authority.renew([])
    assert authority.is_ready
    assert reason(authority.check(bearer(TEXT), "score", None)) == "unknown"


def test_without_authentication_everybody_may_do_everything() -> None:
    """`auth: none` looks at no header."""
    authority = Authority(open_to_all=True)
    assert authority.is_ready
    for header in (None, b"nonsense", bearer(TEXT)):
        assert reason(authority.check(header, "admin", None)) is None


def test_memory_is_bounded() -> None:
    """Neither strangers nor owners who vary the spelling of their header can fill it."""
    authority = knowing(GOOD)
    for number in range(2 * REMEMBERED):
        authority.check(bearer(TEXT[:-8] + f"{number:08d}"), "score", None)
        scheme = bytes(letter ^ (32 if number >> place & 1 else 0) for place, letter in enumerate(b"bearer"))
        blanks, trailing = b" " * (1 + number // 64 % 9), b" " * (number // 576 % 10)
        spelled = authority.check(scheme + blanks + TEXT.encode() + trailing, "score", None)
        assert isinstance(spelled, Caller)
    snapshot = authority._snapshot
    assert snapshot is not None
    assert len(snapshot.seen) <= REMEMBERED


def test_several_headers_are_malformed() -> None:
    """Two `Authorization` headers are no choice for the sender."""
    one = (b"authorization", bearer(TEXT))
    assert authorization_of({"headers": [(b"host", b"x"), one]}) == bearer(TEXT)
    assert authorization_of({"headers": [(b"host", b"x")]}) is None
    both = authorization_of({"headers": [one, one]})
    assert reason(knowing(GOOD).check(both, "score", None)) == "malformed"


def test_a_check_takes_less_than_five_microseconds() -> None:
    """For a token that was seen before, among a thousand others; the best of several rounds."""
    many = [token(Right.SCORE, models={"wine"}, expires_at=AHEAD) for _ in range(1000)]
    authority = knowing(*(one for one, _ in many))
    header = bearer(many[500][1])
    rounds = []
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(1000):
            authority.check(header, "score", "wine")
        rounds.append((time.perf_counter() - began) / 1000)
    print(f"{min(rounds) * 1e6:.2f} µs")
    assert min(rounds) < 5e-6
