"""The embedded PostgreSQL: any user, any data directory, and every way in which it can have ended before."""

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg2
import pytest

from mlflow_ext import embedded_postgres
from mlflow_ext.embedded_postgres import locate
from mlflow_ext.errors import InvalidSettingsError, MissingExtraError
from tests.integration.conftest import as_ordinary, named
from tests.integration.supervised import Driven

Drive = Callable[..., Driven]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
ORDINARY_UID = 54_323


def ask(url: str, sql: str) -> object:
    """Run one statement and give its first value."""
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def _as_server(data_dir: Path) -> dict[str, object]:
    user = locate(data_dir.resolve(), lambda _: None).user
    return {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}


def test_a_cluster_is_made_once_and_keeps_its_data(drive: Drive, open_tmp_path: Path) -> None:
    """The first start makes the cluster, the second finds the rows of the first; it is PostgreSQL 18 with UTF-8."""
    first = drive(postgres=True, data_dir=open_tmp_path / "data")
    first.wait_for(60, all="ready")
    url = first.events[0]["url"]
    assert str(ask(url, "SHOW server_version")).startswith("18")
    assert ask(url, "SHOW server_encoding") == "UTF8"
    assert ask(url, "SHOW listen_addresses") == ""
    ask(url, "CREATE TABLE kept AS SELECT 7 AS value")
    assert first.end() == 0
    second = drive(postgres=True, data_dir=open_tmp_path / "data")
    second.wait_for(60, all="ready")
    assert "initdb" not in second.phases("starting")
    assert ask(url, "SELECT value FROM kept") == 7


def test_a_long_path_gets_a_short_socket(drive: Drive, open_tmp_path: Path) -> None:
    """A data directory far beyond the 107 bytes of a Unix socket's path works; spaces and quotes too."""
    data_dir = open_tmp_path / ("a directory with a long name; it's fine " * 2).strip() / ("b" * 120) / "data"
    driven = drive(postgres=True, data_dir=data_dir)
    driven.wait_for(60, all="ready")
    assert ask(driven.events[0]["url"], "SELECT current_database()") == "mlflow"
    assert driven.end() == 0


def test_it_recovers_from_kill_9_of_everything(drive: Drive, open_tmp_path: Path) -> None:
    """After kill -9 of the supervisor and of every PostgreSQL process the next start finds the committed rows."""
    driven = drive(postgres=True, data_dir=open_tmp_path / "data")
    driven.wait_for(60, all="ready")
    url = driven.events[0]["url"]
    ask(url, "CREATE TABLE kept AS SELECT 7 AS value")
    family = [psutil.Process(driven.process.pid), *psutil.Process(driven.process.pid).children(recursive=True)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    driven.process.wait(10)
    again = drive(postgres=True, data_dir=open_tmp_path / "data")
    again.wait_for(60, all="ready")
    assert ask(url, "SELECT value FROM kept") == 7


@pytest.mark.parametrize("left", ["postgres/postmaster.pid", "sockets/.s.PGSQL.5432.lock"])
def test_a_stale_lock_file_with_a_living_number_is_no_obstacle(drive: Drive, open_tmp_path: Path, left: str) -> None:
    """PostgreSQL would take any process of its user with the old number for itself; we look closer."""
    driven = drive(postgres=True, data_dir=open_tmp_path / "data")
    driven.wait_for(60, all="ready")
    driven.end()
    lock_file = open_tmp_path / "data" / left
    with subprocess.Popen(["sleep", "60"], **_as_server(open_tmp_path / "data")) as other:  # type: ignore[call-overload]
        lock_file.write_text(f"{other.pid}\n{open_tmp_path / 'data' / 'postgres'}\n1\n5432\n/tmp\n\n 1 1\nready\n")
        again = drive(postgres=True, data_dir=open_tmp_path / "data")
        again.wait_for(30, all="ready")
        other.kill()


def test_a_server_that_outlived_its_supervisor_is_replaced(drive: Drive, open_tmp_path: Path) -> None:
    """A PostgreSQL that still serves the cluster is shut down in order before a new one starts."""
    driven = drive(postgres=True, data_dir=open_tmp_path / "data")
    driven.wait_for(60, all="ready")
    driven.end()
    found = locate((open_tmp_path / "data").resolve(), lambda _: None)
    found.clear_way()
    as_server = _as_server(open_tmp_path / "data")
    with subprocess.Popen(found.serve_command(), stderr=subprocess.DEVNULL, **as_server) as left:  # type: ignore[call-overload]
        again = drive(postgres=True, data_dir=open_tmp_path / "data")
        again.wait_for(60, all="ready")
        assert left.wait(10) == 0


def test_an_interrupted_initdb_is_begun_anew(drive: Drive, open_tmp_path: Path) -> None:
    """What an interrupted initdb left is never taken for a cluster."""
    half = open_tmp_path / "data" / "postgres.new"
    half.mkdir(parents=True, mode=0o755)
    (open_tmp_path / "data").chmod(0o755)
    (half / "PG_VERSION").write_text("18\n")
    driven = drive(postgres=True, data_dir=open_tmp_path / "data")
    driven.wait_for(60, all="ready")
    assert not half.exists()


@needs_root
def test_root_may_keep_data_below_a_closed_directory(drive: Drive, open_tmp_path: Path) -> None:
    """Below a home directory with mode 0700 it works, says what was granted, and makes nothing readable."""
    home = open_tmp_path / "home"
    home.mkdir(mode=0o700)
    driven = drive(postgres=True, data_dir=home / "project" / "data")
    driven.wait_for(60, all="ready")
    said = [event["said"] for event in driven.events if "said" in event]
    assert any(str(home) in text and "setfacl -x u:pgserver" in text for text in said)
    assert not home.stat().st_mode & 0o007
    assert driven.end() == 0


@needs_root
def test_an_ordinary_user_needs_no_system_user(drive: Drive, open_tmp_path: Path) -> None:
    """Somebody without any rights runs the server as themselves; root can go on with their data, as them."""
    home = open_tmp_path / "theirs"
    home.mkdir(mode=0o700)
    os.chown(home, ORDINARY_UID, ORDINARY_UID)
    with named(ORDINARY_UID):
        driven = drive(postgres=True, data_dir=home / "data", before=as_ordinary(ORDINARY_UID), cwd="/")
        driven.wait_for(60, all="ready")
        assert psutil.Process(driven.wait_for(part="postgres", phase="ready")["pid"]).uids().real == ORDINARY_UID
        assert driven.end() == 0
        by_root = drive(postgres=True, data_dir=home / "data")
        by_root.wait_for(60, all="ready")
        assert psutil.Process(by_root.wait_for(part="postgres", phase="ready")["pid"]).uids().real == ORDINARY_UID
        assert by_root.end() == 0


@needs_root
def test_somebody_elses_data_is_refused(drive: Drive, open_tmp_path: Path) -> None:
    """An ordinary user is told whose the data is and what to do."""
    data = open_tmp_path / "data"
    (data / "postgres").mkdir(parents=True)
    data.chmod(0o777)
    driven = drive(postgres=True, data_dir=data, before=as_ordinary(ORDINARY_UID), cwd="/")
    assert "belongs to root" in driven.wait_for_error()


def test_another_major_version_is_refused(tmp_path: Path) -> None:
    """Data of another PostgreSQL is left alone, with a way out."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(InvalidSettingsError, match="made by PostgreSQL 16"):
        locate(tmp_path, lambda _: None)


def test_files_that_are_no_cluster_are_left_alone(tmp_path: Path) -> None:
    """A directory with somebody's files where the cluster should be is an error before anything starts."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "notes.txt").write_text("mine")
    with pytest.raises(InvalidSettingsError, match="no PostgreSQL data"):
        locate(tmp_path, lambda _: None)


def test_without_the_extra_it_says_exactly_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the pip command and the variable."""
    monkeypatch.setattr(embedded_postgres, "_PACKAGE", "no_such_package_of_postgresql")
    assert find_spec("no_such_package_of_postgresql") is None
    with pytest.raises(MissingExtraError, match=r"pip install 'mlflow-ext\[local\]'.*MLFLOW_EXT_DATABASE_URL="):
        locate(tmp_path, lambda _: None)
