"""`mlflow-ext serve`: opens the socket, starts the scoring processes and the promotion worker, and keeps them alive."""

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlflow_ext.config import PREFIX, Settings, is_loopback, load
from mlflow_ext.errors import InvalidSettingsError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from serving.children import Child

ROLES = ("scoring", "promotion")
BACKLOG = 2048
_WORKER_STOPS_WITHIN_S = 10.0


def _roles(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    roles = tuple(dict.fromkeys(role.strip() for role in value.split(",") if role.strip()))
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        raise click.BadParameter(f"must be one or both of {', '.join(ROLES)}, separated by a comma", context, parameter)
    return roles


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on; 0 picks a free one.")
@click.option("--workers", type=click.IntRange(1, 64), help="Number of scoring processes.")
@click.option("--role", "roles", default="scoring,promotion", show_default=True, callback=_roles, help="What to run.")
def serve(host: str | None, port: int | None, workers: int | None, roles: tuple[str, ...]) -> None:
    """Run the promotion service: REST scoring and the promotion worker."""
    import logging

    from mlflow_ext.bootstrap import running
    from serving.children import Children

    given = {"serving_host": host, "serving_port": port, "serving_workers": workers}
    settings = running(load())
    settings = settings.model_copy(update={key: value for key, value in given.items() if value is not None})
    settings.require_database_url()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    groups: list[list[Child]] = []
    listening: socket.socket | None = None
    stack = ExitStack()
    try:
        if "scoring" in roles:
            settings.require_privacy_key()
            listening = _listen(settings)
            settings = settings.model_copy(update={"auth": settings.auth_at(settings.serving_host)})
            url = _url(settings, host, port, listening)
            hosting = stack.enter_context(_hosting())
            address = Path(hosting.getsockname())
            groups.append(_scoring(settings, url, listening.fileno(), address))
            groups.append([_hosts(hosting.fileno(), settings.background_niceness)])
            click.echo(f"promotion service: {url} (docs at {url}/docs)")
            _say_who_may_ask(settings)
        if "promotion" in roles:
            url = _url(settings, host, port, listening)
            groups.append([_worker(settings, url)])
        Children(groups).run()
    finally:
        stack.close()
        if listening is not None:
            listening.close()
            _metrics_dir(settings, create=False)


def _say_who_may_ask(settings: Settings) -> None:
    import logging

    if settings.auth == "token":
        click.echo("callers need a token (auth: token); `mlflow-ext token create --right score` makes one")
    elif is_loopback(settings.serving_host):
        click.echo("anyone on this machine may ask (auth: none); MLFLOW_EXT_AUTH=token asks for tokens")
    else:
        logging.getLogger(__name__).warning("event=open_to_all host=%s auth=none", settings.serving_host)
        click.echo(
            f"ANYONE who reaches {settings.serving_host} may ask (auth: none); MLFLOW_EXT_AUTH=token asks for tokens"
        )


def _listen(settings: Settings) -> "socket.socket":
    import socket

    address = settings.serving_host, settings.serving_port
    opened = socket.socket(socket.AF_INET6 if ":" in settings.serving_host else socket.AF_INET)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind(address)
    except OSError as exc:
        opened.close()
        raise InvalidSettingsError(
            f"cannot listen on {address[0]} port {address[1]} ({exc.strerror}): "
            "choose another --host or --port (0 picks a free one)"
        ) from exc
    # clients that come before a scoring process is up, or while one is started again, wait in this queue
    opened.listen(BACKLOG)
    return opened


def _url(settings: Settings, host: str | None, port: int | None, listening: "socket.socket | None") -> str:
    configured = "serving_url" in settings.model_fields_set and host is None and port is None
    if configured or listening is None:
        return settings.serving_url
    name = "127.0.0.1" if settings.serving_host in {"0.0.0.0", "::"} else settings.serving_host  # noqa: S104  (compared)
    return f"http://{f'[{name}]' if ':' in name else name}:{listening.getsockname()[1]}"


@contextmanager
def _hosting() -> "Iterator[socket.socket]":
    """Open the socket on which model hosts are asked for, where nobody else of this machine can ask."""
    import socket
    from tempfile import TemporaryDirectory

    # not below the data directory: a socket's path has at most 107 characters
    with TemporaryDirectory(prefix="mlflow-ext-") as directory, socket.socket(socket.AF_UNIX) as opened:
        opened.bind(f"{directory}/hosts")
        opened.listen(BACKLOG)
        yield opened


def _hosts(fd: int, niceness: int) -> "Child":
    from serving.children import Child
    from serving.host.environment import HOSTS

    return Child(
        name="model hosts",
        command=(*_python(), "serving.host.process", "--fd", str(fd), "--niceness", str(niceness)),
        stop_within_s=5.0,
        environment=HOSTS,
        pass_fds=(fd,),
    )


def _scoring(settings: Settings, url: str, fd: int, hosts: Path) -> "list[Child]":
    from prometheus_client.multiprocess import mark_process_dead

    from serving.children import Child
    from serving.host.environment import ONE_THREAD

    counters = _metrics_dir(settings, create=True)

    def ended(pid: int) -> None:
        mark_process_dead(pid, str(counters))  # type: ignore[no-untyped-call]

    return [
        Child(
            name=f"scoring {number}",
            command=(*_python(), "serving.process", "--fd", str(fd), "--hosts", str(hosts)),
            again=("--restarted",),
            stop_within_s=settings.serving_drain_s + settings.serving_stop_s + 5,
            environment={**_passed_on(settings, url), **ONE_THREAD, "PROMETHEUS_MULTIPROC_DIR": str(counters)},
            pass_fds=(fd,),
            ended=ended,
        )
        for number in range(1, settings.serving_workers + 1)
    ]


def _worker(settings: Settings, url: str) -> "Child":
    from serving.children import Child

    return Child(
        name="promotion worker",
        command=(*_python(), "serving.worker"),
        stop_within_s=_WORKER_STOPS_WITHIN_S,
        environment=_passed_on(settings, url),
    )


def _python() -> tuple[str, ...]:
    import sys

    # the working directory stays off the import path: it may hold a `serving` of somebody else
    return sys.executable, "-P", "-m"


def _passed_on(settings: Settings, url: str) -> dict[str, str]:
    """Give the children the settings as they are now, after options and a running stack had their say."""
    return {
        f"{PREFIX}DATABASE_URL": settings.require_database_url(),
        f"{PREFIX}DATA_DIR": str(settings.data_dir.absolute()),
        f"{PREFIX}MLFLOW_URL": settings.mlflow_url,
        f"{PREFIX}SERVING_URL": url,
        # they share the spool's bounds
        f"{PREFIX}SERVING_WORKERS": str(settings.serving_workers),
        f"{PREFIX}AUTH": settings.auth_at(settings.serving_host),
    }


def _metrics_dir(settings: Settings, *, create: bool) -> Path:
    """Give the directory in which the scoring processes of this service add up their metrics."""
    import os
    import shutil

    directory = settings.data_dir.absolute() / "metrics" / str(os.getpid())
    shutil.rmtree(directory, ignore_errors=True)
    if create:
        directory.mkdir(parents=True)
    return directory
