"""How the service and the board listen: what a stranger may send, how long that may take, and how many may ask at once.

The server is uvicorn. It limits the connections and a header's length itself, and Starlette limits a body. Neither
limits the time in which a request arrives or its answer is taken: that is here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_BODY_BYTES = 1 << 20
MAX_HEADER_BYTES = 16 << 10
MAX_CONNECTIONS = 256
"""Beyond these a request is answered with 503."""
MAX_ARRIVING = 128
"""How many requests may be arriving. Who connects when there are more displaces the one that takes longest."""
ARRIVAL_SECONDS = 15.0
"""In which a request has to arrive, from the connection's first moment to the last byte of its body."""
TAKING_SECONDS = 60.0
"""How long an answer may lie here because nobody takes it."""
CLOSING_SECONDS = 5
HEADERS = (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store"))
"""Of every answer: a browser takes it for what it is said to be, and keeps no copy of results."""


def limited(app: ASGIApp, *, headers: Iterable[tuple[str, str]] = HEADERS, access_log: bool = True) -> uvicorn.Server:
    """A server of the application with these limits; it takes sockets that listen already.

    Args:
        app: what answers.
        headers: of every answer; an application that sets them itself has none.
        access_log: whether each request is logged.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=TimedProtocol,
            ws="none",
            limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            # Whom a proxy speaks for is believed only of a proxy that is named: wrong tokens are counted by address.
            proxy_headers="FORWARDED_ALLOW_IPS" in os.environ,
            timeout_graceful_shutdown=CLOSING_SECONDS,
            server_header=False,
            headers=list(headers),
            # Its own logging would end every handler that is there.
            log_config=None,
            access_log=access_log,
        )
    )


class TimedProtocol(H11Protocol):
    """uvicorn's protocol, with a limit of the time for a request to arrive and for its answer to be taken."""

    _arrival: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look()
        arriving = [one for one in self.connections if isinstance(one, TimedProtocol) and one._arrival is not None]
        if len(arriving) > MAX_ARRIVING:
            longest = min(arriving, key=TimedProtocol._deadline)
            longest._end_arrival()
            longest.transport.abort()
            self.connections.discard(longest)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_arrival()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking = self.loop.call_later(TAKING_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _look(self) -> None:
        """Starts the clock when a request begins to arrive, and stops it when it is whole."""
        begun = self.cycle is None or bool(self.conn.trailing_data[0])
        arriving = self.conn.their_state is h11.SEND_BODY or (self.conn.their_state is h11.IDLE and begun)
        if not arriving or self.transport.is_closing():
            self._end_arrival()
        elif self._arrival is None:
            self._arrival = self.loop.call_later(ARRIVAL_SECONDS, self._late)

    def _late(self) -> None:
        if self.conn.our_state is h11.IDLE:
            self.send_400_response("The request did not arrive in time.")
        self.transport.abort() if self.conn.our_state is h11.SEND_RESPONSE else self.transport.close()

    def _deadline(self) -> float:
        return 0.0 if self._arrival is None else self._arrival.when()

    def _end_arrival(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
