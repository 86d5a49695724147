"""Serves the page with gunicorn: one process with threads, in which all pages share one snapshot."""

from __future__ import annotations

import os
import socket
from types import TracebackType
from typing import Self
from wsgiref.types import WSGIApplication

from gunicorn.app.base import BaseApplication

from dashboards.errors import BoardError

THREADS = 8


class Listener:
    """A port that this process listens on.

    Args:
        host: an address or name of this machine.
        port: to listen on.

    Raises:
        BoardError: the port is in use, or not allowed.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((host, port), family=family, backlog=128)
        except OSError as error:
            raise BoardError(
                f"the board cannot listen on {host}:{port} ({error.strerror}); choose another by --host and --port"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def url(self) -> str:
        """Where the page is, for the address line of a browser on this machine."""
        port = self._socket.getsockname()[1]
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host, self._host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{port}/"

    def serve(self, application: WSGIApplication) -> None:
        """Serves a WSGI application until Ctrl-C or SIGTERM."""
        options = {
            "bind": [f"fd://{os.dup(self._socket.fileno())}"],  # gunicorn closes the number that it is given
            "worker_class": "gthread",
            "workers": 1,
            "threads": THREADS,
            # With connections that are kept, a browser that closes many at once can leave a request without an answer.
            "keepalive": 0,
            "loglevel": "warning",  # no log of requests: a person's token is in one
            "control_socket_disable": True,
            "timeout": 120,
            "graceful_timeout": 2,
            "worker_tmp_dir": None,
        }
        _Server(application, options).run()


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, application: WSGIApplication, options: dict[str, object]) -> None:
        self._application, self._options = application, options
        super().__init__()

    def load_config(self) -> None:
        for key, value in self._options.items():
            if key in self.cfg.settings:
                self.cfg.set(key, value)

    def load(self) -> WSGIApplication:
        return self._application
