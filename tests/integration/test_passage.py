"""Passing through closed directories: granted to one user, and nothing more."""

import os
import stat
from pathlib import Path

import pytest

from mlflow_ext.passage import SystemUser, closed_directories, grant
from tests.integration.conftest import run_as

SOMEBODY = SystemUser("somebody", 54_321, 54_321)
SOMEBODY_ELSE = SystemUser("somebody-else", 54_322, 54_322)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask and grant for another user")


@pytest.fixture
def closed(open_tmp_path: Path) -> Path:
    """A directory below one that only its owner may enter."""
    (open_tmp_path / "home" / "inside").mkdir(parents=True)
    (open_tmp_path / "home").chmod(0o700)
    return open_tmp_path / "home" / "inside"


def test_a_closed_directory_on_the_way_is_named(closed: Path) -> None:
    """Exactly the directories that stop the user are found, and they stop what is below them too."""
    assert closed_directories(closed, SOMEBODY) == [closed.parent, closed]


def test_passing_is_granted_to_one_user_and_reading_to_nobody(closed: Path) -> None:
    """After the grant that user passes, cannot list the directory, and somebody else still cannot enter."""
    grant(closed.parent, SOMEBODY)
    assert closed_directories(closed, SOMEBODY) == []
    assert run_as(SOMEBODY, ["ls", str(closed.parent)]).returncode != 0
    assert closed_directories(closed, SOMEBODY_ELSE) == [closed.parent, closed]
    assert not stat.S_IMODE(closed.parent.stat().st_mode) & 0o007


def test_grants_add_up_and_may_be_repeated(closed: Path) -> None:
    """A second user's grant keeps the first one's; the same grant again changes nothing."""
    for user in (SOMEBODY, SOMEBODY_ELSE, SOMEBODY):
        grant(closed.parent, user)
    before = os.getxattr(closed.parent, "system.posix_acl_access")
    grant(closed.parent, SOMEBODY)
    assert os.getxattr(closed.parent, "system.posix_acl_access") == before
    assert closed_directories(closed, SOMEBODY) == closed_directories(closed, SOMEBODY_ELSE) == []
