"""Refuses requests that a browser was tricked into: a Host that is not ours (DNS rebinding), an Origin of another page.
Also refuses bodies whose Content-Length is too large."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sweeper.server.limits import MAX_BODY_BYTES

LOOPBACK = ("localhost", "127.0.0.1", "::1")
UNGUARDED = "/healthz"
"""Probes call a container by whatever address it has, and learn nothing."""


class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded.
        hosts: names and addresses that a request may be for, on any port: `example.org`, `*.example.org`, `*`.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self.hosts = tuple(host.strip().lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == UNGUARDED:
            await self.app(scope, receive, send)
            return
        if (problem := self._problem(Headers(scope=scope))) is not None:
            status, detail = problem
            await JSONResponse({"detail": detail}, status)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _problem(self, headers: Headers) -> tuple[int, str] | None:
        host, origin, length = headers.get("host", ""), headers.get("origin"), headers.get("content-length", "0")
        if not self._ours(host):
            return 400, f"this service does not answer for the host {_shown(host)}; add it to SWEEPER_ALLOWED_HOSTS"
        if origin is not None and _netloc(origin) != host.lower():
            return 400, f"a page of {_shown(origin)} may not call this service"
        if not length.isdecimal() or len(length) > 10 or int(length) > MAX_BODY_BYTES:
            return 413, f"a body of {_shown(length)} bytes is too large; at most {MAX_BODY_BYTES} are accepted"
        return None

    def _ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return any(
            pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:]))
            for pattern in self.hosts
            if name
        )


def _netloc(origin: str) -> str:
    """`example.org:8080` of `https://example.org:8080`; empty for what is no origin."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _shown(value: str) -> str:
    return repr(value if len(value) <= 100 else value[:100] + "…")
