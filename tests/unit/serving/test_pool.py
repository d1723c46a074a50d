"""What is loaded and which version answers."""

import pytest

from mlflow_ext.errors import NotFoundError, UnavailableError
from serving.pool import Pool
from tests.unit.serving.in_process import loaded


def test_an_unknown_model_is_not_found() -> None:
    """A name that is no registered model's is NotFoundError, and says where to look."""
    with pytest.raises(NotFoundError, match="GET /models"):
        Pool().champion("nobody")


def test_a_model_without_production_says_what_to_do() -> None:
    """A registered model without a Production version is UnavailableError with the next step."""
    pool = Pool()
    pool.know(["wine"])
    with pytest.raises(UnavailableError, match="mlflow-ext promote 'wine' VERSION"):
        pool.champion("wine")


def test_a_first_version_that_fails_is_explained() -> None:
    """When the only Production version cannot be loaded, the answer says why."""
    pool = Pool()
    pool.know(["wine"])
    pool.fail("wine", 3, "its file is cut.")
    with pytest.raises(UnavailableError, match=r"version 3 .* could not be loaded: its file is cut\."):
        pool.champion("wine")
    assert pool.fail("wine", 3, "still").attempts == 2


def test_swap_gives_the_former_version_and_keeps_since() -> None:
    """A swap is seen at once; a new generation of the same version does not restart its time."""
    pool = Pool()
    one, two = loaded("wine", 1), loaded("wine", 2)
    for version in (one, two):
        pool.add(version)
    assert pool.swap(one, 1) is None
    assert pool.swap(two, 2) is one
    assert pool.champion("wine") is two
    since = pool.serving("wine")
    assert pool.swap(two, 3) is two
    again = pool.serving("wine")
    assert since is not None
    assert again is not None
    assert (again.since, again.generation) == (since.since, 3)


def test_what_answers_is_never_dropped() -> None:
    """Tidying up keeps the version that answers, even when it is no longer wanted."""
    pool = Pool()
    for number in (1, 2, 3):
        pool.add(loaded("wine", number))
    pool.swap(loaded_one := pool.version("wine", 1), 1)
    pool.fail("wine", 9, "broken")
    assert pool.keep_only("wine", {2}) == [3]
    assert pool.champion("wine") is loaded_one
    assert pool.versions("wine") == [1, 2]
    assert pool.failures("wine") == {}


def test_withdrawing_leaves_nothing_to_answer() -> None:
    """A withdrawn model has no champion, and its versions can be dropped."""
    pool = Pool()
    pool.know(["wine"])
    pool.add(one := loaded("wine", 1))
    pool.swap(one, 1)
    assert pool.withdraw("wine") is one
    assert pool.withdraw("wine") is None
    with pytest.raises(UnavailableError):
        pool.champion("wine")
    assert pool.keep_only("wine", set()) == [1]


def test_an_account_of_a_model() -> None:
    """The account names the version, its generation, what else is loaded and what failed."""
    pool = Pool()
    for number in (1, 2):
        pool.add(loaded("wine", number))
    pool.swap(pool.version("wine", 2), 7)
    pool.fail("wine", 3, "broken")
    account = pool.describe("wine")
    assert (account["name"], account["version"], account["generation"]) == ("wine", 2, 7)
    assert [one["version"] for one in account["loaded"]] == [1, 2]
    assert [(one["version"], one["reason"], one["attempts"]) for one in account["failures"]] == [(3, "broken", 1)]
    with pytest.raises(NotFoundError, match=r"loaded: \[1, 2\]"):
        pool.version("wine", 3)
