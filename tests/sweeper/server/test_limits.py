"""The server that service and board share: half a request, a reader who does not read, and too many connections."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from sweeper.server import limits
from tests.sweeper.server.listening import listening

HEADER = b"POST / HTTP/1.1\r\nHost: here\r\n"
LARGE = 32 << 20  # more than a system keeps for who does not read


async def length(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the length of the body, `/large` with a lot."""
    if scope["type"] == "http":
        body = await Request(scope, receive).body()
        text = "x" * LARGE if scope["path"] == "/large" else str(len(body))
        await PlainTextResponse(text)(scope, receive, send)


@pytest.fixture
def port() -> Iterator[int]:
    with listening(length) as url:
        yield int(url.rpartition(":")[2])


def connect(port: int, sent: bytes = b"") -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port), timeout=20)
    found.sendall(sent)
    return found


def ask(port: int) -> str:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("POST", "/", b"abc")
        answer = connection.getresponse()
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.read().decode()


def rest(one: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found = bytearray()
    try:
        while piece := one.recv(1 << 20):
            found += piece
    except ConnectionResetError:
        pass
    return bytes(found)


@pytest.mark.parametrize("sent", [b"", HEADER, HEADER + b"Content-Length: 5\r\n\r\nabc"])
def test_a_request_that_does_not_arrive_is_given_up(sent: bytes, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARRIVAL_SECONDS", 0.05)
    with connect(port, sent) as half:
        assert rest(half)[:12] in (b"", b"HTTP/1.1 400")
    assert ask(port) == "3"


def test_a_second_half_request_on_a_connection_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARRIVAL_SECONDS", 0.05)
    with connect(port, HEADER + b"Content-Length: 0\r\n\r\n" + HEADER) as half:
        answers = rest(half)
    assert answers.startswith(b"HTTP/1.1 200")
    assert answers.count(b"HTTP/1.1 400") == 1


def test_who_arrives_displaces_those_who_take_longest(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ARRIVING", 5)
    with ExitStack() as stack:
        halves = [stack.enter_context(connect(port, HEADER)) for _ in range(40)]
        assert ask(port) == "3"
        assert rest(halves[0]) == b""


def test_an_answer_that_nobody_takes_is_dropped(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TAKING_SECONDS", 0.0)
    with connect(port, HEADER.replace(b"/", b"/large", 1) + b"Content-Length: 0\r\n\r\n") as lazy:
        assert lazy.recv(1, socket.MSG_PEEK)  # the answer has begun
        assert ask(port) == "3"  # so the server's loop has had its turn
        assert len(rest(lazy)) < LARGE
