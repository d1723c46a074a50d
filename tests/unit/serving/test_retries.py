"""Back-off of loads."""

from serving.retries import LASTING_S, PASSING_S, Retries

KEY = ("wine", 3, "models:/m-1")


def test_pauses_double_up_to_a_limit() -> None:
    """Each failure doubles the pause, up to the longest one; what will hardly pass waits longer."""
    retries = Retries(monotonic=lambda: 0.0)
    assert [retries.failed(KEY, passing=True) for _ in range(4)] == [1.0, 2.0, 4.0, 8.0]
    assert max(retries.failed(KEY, passing=True) for _ in range(100)) == PASSING_S[1]
    other = Retries(monotonic=lambda: 0.0)
    assert other.failed(KEY, passing=False) == LASTING_S[0]


def test_a_pause_ends_once() -> None:
    """A version may not be tried during its pause; when it is over the model is named once."""
    now = 0.0
    retries = Retries(monotonic=lambda: now)
    assert retries.next_in_s() == float("inf")
    pause_s = retries.failed(KEY, passing=True)
    assert not retries.may_try(KEY)
    assert retries.next_in_s() == pause_s
    assert retries.due() == []
    now = pause_s
    assert retries.next_in_s() == 0
    assert retries.due() == ["wine"]
    assert retries.may_try(KEY)
    assert retries.due() == []
    assert retries.next_in_s() == float("inf")


def test_forgetting_begins_anew() -> None:
    """After a success, or a fresh decision for the version, the first pause is short again."""
    retries = Retries(monotonic=lambda: 0.0)
    for _ in range(5):
        retries.failed(KEY, passing=True)
    retries.forget(KEY)
    assert retries.may_try(KEY)
    assert retries.failed(KEY, passing=True) == PASSING_S[0]
