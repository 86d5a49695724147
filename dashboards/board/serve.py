"""Serves the page with the limits of the service: one process with threads, in which all pages share one snapshot."""

from __future__ import annotations

import socket
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast
from wsgiref.types import WSGIApplication

from a2wsgi import WSGIMiddleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.errors import BoardError
from sweeper.server.limits import MAX_BODY_BYTES, limited

if TYPE_CHECKING:
    from a2wsgi.wsgi_typing import WSGIApp

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
        with suppress(KeyboardInterrupt):
            limited(in_threads(application), headers=(), access_log=False).run([self._socket])


def in_threads(application: WSGIApplication) -> ASGIApp:
    """The application in threads, none of which waits for who sends or takes slowly."""
    # Without a limit of the queue, a thread hands its whole answer over at once.
    threads = WSGIMiddleware(cast("WSGIApp", application), workers=THREADS, send_queue_size=0)
    return RequestBodyLimitMiddleware(_whole(cast("ASGIApp", threads)), MAX_BODY_BYTES)


def _whole(app: ASGIApp) -> ASGIApp:
    """Reads a body before the application does."""

    async def read_first(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        with suppress(ClientDisconnect):
            whole: list[Message] = [{"type": "http.request", "body": await Request(scope, receive).body()}]

            async def receive_whole() -> Message:
                return whole.pop() if whole else await receive()

            await app(scope, receive_whole, send)

    return read_first
