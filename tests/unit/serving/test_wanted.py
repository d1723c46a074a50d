"""Which versions should be loaded, and which one should answer."""

from datetime import UTC, datetime, timedelta
from typing import Any

from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import ModelVersion, Stage
from serving.wanted import want

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULE: Any = {"load_ahead": 4, "keep_previous_s": 60, "now": NOW}
VERSIONS = [ModelVersion("wine", number) for number in (1, 2, 3)]


def pointer(version: int | None, previous: int | None = None, age_s: float = 0.0) -> ServingPointer:
    """Make a pointer that moved some time ago."""
    return ServingPointer("wine", version, 5, previous, NOW - timedelta(seconds=age_s))


def test_the_pointer_names_the_champion() -> None:
    """The pointer's version answers, under the pointer's generation."""
    wanted = want(pointer(2), VERSIONS, **RULE)
    assert (wanted.champion, wanted.generation, wanted.others) == (VERSIONS[1], 5, [])


def test_no_pointer_and_an_empty_one() -> None:
    """Without a pointer, with an empty one, and with one to a deleted version nothing answers."""
    assert want(None, VERSIONS, **RULE).champion is None
    assert want(pointer(None), VERSIONS, **RULE).champion is None
    assert want(pointer(9), VERSIONS, **RULE).champion is None


def test_the_former_version_stays_for_a_while() -> None:
    """The former version stays loaded for `keep_previous_s`, and no longer."""
    assert want(pointer(2, 1, 59), VERSIONS, **RULE).others == [VERSIONS[0]]
    assert want(pointer(2, 1, 60), VERSIONS, **RULE).others == []
    assert want(pointer(2, 2, 0), VERSIONS, **RULE).others == []


def test_staging_by_any_mark_is_loaded_ahead() -> None:
    """A version in Staging by stage, alias or tag is loaded besides the champion, the newest first."""
    versions = [
        ModelVersion("wine", 1, Stage.STAGING),
        ModelVersion("wine", 2, aliases=("staging",)),
        ModelVersion("wine", 3, tags={"stage": "staging"}),
        ModelVersion("wine", 4, Stage.PRODUCTION, tags={"stage": "Staging"}),
        ModelVersion("wine", 5, Stage.ARCHIVED),
    ]
    wanted = want(pointer(4), versions, **RULE)
    assert [version.version for version in wanted.all] == [4, 3, 2, 1]


def staged(*numbers: int) -> list[ModelVersion]:
    """Make ten versions, some in Staging."""
    return [ModelVersion("wine", n, Stage.STAGING if n in numbers else Stage.NONE) for n in range(1, 11)]


def test_open_promotions_are_loaded_ahead() -> None:
    """A version with an open promotion is loaded whatever its marks say, before those in Staging, each once."""
    wanted = want(pointer(1), staged(3, 5), promoted=[2, 3, 99], **RULE)
    assert [version.version for version in wanted.all] == [1, 2, 3, 5]


def test_no_more_is_loaded_ahead_than_policy_lets() -> None:
    """The newest promotions win, then the newest in Staging; Production and its predecessor do not count."""
    rule = {**RULE, "load_ahead": 3}
    wanted = want(pointer(1, 9, 10), staged(*range(1, 11)), promoted=[2, 1, 9, 4], **rule)
    assert [version.version for version in wanted.all] == [1, 2, 4, 10, 9]
    assert want(pointer(1, 9, 10), staged(2, 3), promoted=[2], **{**rule, "load_ahead": 0}).all == [
        ModelVersion("wine", 1),
        ModelVersion("wine", 9),
    ]
