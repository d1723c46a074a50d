"""Which answers around a flip the benchmark counts as wrong."""

import pytest

from benchmarks.flips import Flip, Seen, judge
from benchmarks.steady import Answered

FLIPS = [Flip(1, 0.0, 0.1), Flip(2, 10.0, 10.1), Flip(1, 20.0, 20.1)]


def answers(*seen: tuple[float, float, int | None]) -> list[Answered]:
    """Answers by when they began, when they ended, and their versions."""
    return [
        Answered(began, began, ended, version, b'{"predictions": [%d.0]}' % (version or 0))
        for began, ended, version in seen
    ]


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (((1, 2, 1), (11, 12, 2), (21, 22, 1)), Seen()),
        (((1, 2, 1), (10.05, 10.2, 1), (10.2, 10.3, 2), (20.05, 20.2, 2), (20.3, 20.4, 1)), Seen()),
        (((1, 2, 1), (9.9, 10.2, 2), (11, 12, 2)), Seen()),
        (((1, 2, 2),), Seen(foreign=1)),
        (((1, 2, 1), (11, 12, 3)), Seen(foreign=1)),
        (((10.2, 10.3, 2), (10.4, 10.5, 1), (10.6, 10.7, 2)), Seen(back=1)),
        (((10.2, 10.3, 2), (19.9, 20.2, 1), (20.3, 20.4, 2)), Seen(back=1)),
        (((1, 2, None), (2, 3, 1)), Seen(failed=1)),
    ],
    ids=["calm", "around flips", "before its answer", "too early", "a third", "back", "back later", "lost"],
)
def test_wrong_answers_are_counted(seen: tuple[tuple[float, float, int | None], ...], found: Seen) -> None:
    """The former version may answer until a client has seen the new one; a third one, or nobody, never may."""
    assert judge(FLIPS, answers(*seen)) == found


def test_another_prediction_counts_as_failed() -> None:
    """An answer has to be that of the version that it names."""
    assert judge(FLIPS, [Answered(1, 1, 2, 1, b'{"predictions": [2.0]}')]) == Seen(failed=1)
