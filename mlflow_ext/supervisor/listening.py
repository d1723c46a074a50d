"""Ports: free ones are picked and taken ones are named before anything starts."""

import errno
import socket
from contextlib import ExitStack

import psutil

from mlflow_ext.errors import InvalidSettingsError


def settle_ports(wanted: dict[str, tuple[str, int]]) -> dict[str, int]:
    """Give a port for each purpose.

    Args:
        wanted: Host and port by the option that sets them; port 0 means any free one.

    Raises:
        InvalidSettingsError: With every port that is taken or cannot be listened on.
    """
    settled: dict[str, int] = {}
    mistakes = []
    with ExitStack() as held:
        # the fixed ones first, so that a free one is never one of them
        for option, (host, port) in sorted(wanted.items(), key=lambda item: item[1][1] == 0):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            probe = held.enter_context(socket.socket(family))
            # as servers do: connections of a former server that still linger do not count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen()
            except OSError as exc:
                mistakes.append(f"{option}: port {port} on {host} {_reason(exc, port)}")
            settled[option] = probe.getsockname()[1]
    if mistakes:
        hint = "choose another one, or 0 for any free one"
        raise InvalidSettingsError("nothing was started:\n" + "\n".join(f"  - {m}; {hint}" for m in mistakes))
    return settled


def _reason(exc: OSError, port: int) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"is taken{_holder(port)}"
    return f"cannot be used ({exc.strerror})"


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                process = psutil.Process(connection.pid)
                return f" by process {process.pid} ({process.name()})"
    except psutil.Error:
        pass
    return ""
