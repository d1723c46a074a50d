"""Which versions should be loaded, and which one should answer."""

from datetime import UTC, datetime, timedelta

from mlflow_ext.domain.serving import ServingPointer
from mlflow_ext.domain.stages import ModelVersion, Stage
from serving.wanted import want

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VERSIONS = [ModelVersion("wine", number) for number in (1, 2, 3)]


def pointer(version: int | None, previous: int | None = None, age_s: float = 0.0) -> ServingPointer:
    """Make a pointer that moved some time ago."""
    return ServingPointer("wine", version, 5, previous, NOW - timedelta(seconds=age_s))


def test_the_pointer_names_the_champion() -> None:
    """The pointer's version answers, under the pointer's generation."""
    wanted = want(pointer(2), VERSIONS, keep_previous_s=60, now=NOW)
    assert (wanted.champion, wanted.generation, wanted.others) == (VERSIONS[1], 5, [])


def test_no_pointer_and_an_empty_one() -> None:
    """Without a pointer, with an empty one, and with one to a deleted version nothing answers."""
    assert want(None, VERSIONS, keep_previous_s=60, now=NOW).champion is None
    assert want(pointer(None), VERSIONS, keep_previous_s=60, now=NOW).champion is None
    assert want(pointer(9), VERSIONS, keep_previous_s=60, now=NOW).champion is None


def test_the_former_version_stays_for_a_while() -> None:
    """The former version stays loaded for `keep_previous_s`, and no longer."""
    assert want(pointer(2, 1, 59), VERSIONS, keep_previous_s=60, now=NOW).others == [VERSIONS[0]]
    assert want(pointer(2, 1, 60), VERSIONS, keep_previous_s=60, now=NOW).others == []
    assert want(pointer(2, 2, 0), VERSIONS, keep_previous_s=60, now=NOW).others == []


def test_staging_by_any_mark_is_loaded_ahead() -> None:
    """A version in Staging by stage, alias or tag is loaded besides the champion, which comes first."""
    versions = [
        ModelVersion("wine", 1, Stage.STAGING),
        ModelVersion("wine", 2, aliases=("staging",)),
        ModelVersion("wine", 3, tags={"stage": "staging"}),
        ModelVersion("wine", 4, Stage.PRODUCTION, tags={"stage": "Staging"}),
        ModelVersion("wine", 5, Stage.ARCHIVED),
    ]
    wanted = want(pointer(4), versions, keep_previous_s=60, now=NOW)
    assert [version.version for version in wanted.all] == [4, 1, 2, 3]
