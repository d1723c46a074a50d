"""A TCP relay in front of a real server, so that it seems to go away and come back."""

import contextlib
import socket
import threading

from sqlalchemy.engine import make_url


class Gateway:
    """Relays every connection to a server until it is closed, and again once it is opened."""

    def __init__(self, url: str) -> None:
        """Take the server's URL; PostgreSQL may be behind a Unix socket."""
        self._server = make_url(url)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._port = self._listening.getsockname()[1]
        self._open = True
        self._live: list[socket.socket] = []

    @property
    def url(self) -> str:
        """The server's address through the relay, for HTTP."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def database_url(self) -> str:
        """The database's URL through the relay."""
        through = self._server.set(host="127.0.0.1", port=self._port).difference_update_query(["host"])
        return through.render_as_string(hide_password=False)

    def __enter__(self) -> "Gateway":
        """Begin to relay."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._listening.close()
        self.close()

    def close(self) -> None:
        """Cut every connection and take no new ones."""
        self._open = False
        for one in self._live:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._live.clear()

    def open(self) -> None:
        """Relay again."""
        self._open = True

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if not self._open:
                near.close()
                continue
            with contextlib.suppress(OSError):
                far = self._connect()
                self._live += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_relay, args=(source, sink), daemon=True).start()

    def _connect(self) -> socket.socket:
        directory = self._server.query.get("host")
        if isinstance(directory, str):
            far = socket.socket(socket.AF_UNIX)
            far.connect(f"{directory}/.s.PGSQL.{self._server.port or 5432}")
            return far
        return socket.create_connection((self._server.host or "127.0.0.1", self._server.port or 5432))


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
    source.close()
