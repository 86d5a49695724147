"""A service (`sweeper serve`) as a place for verbs: what is asked is sent over HTTP, the answer is a typed object."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from storage.errors import UnknownSweepError
from sweeper.errors import ServerError
from sweeper.server.guard import LOOPBACK
from sweeper.server.tokens import OWN_TOKEN, read_token
from sweeper.verbs import list_sweeps
from sweeper.verbs.declaration import Call, Verb

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
ATTEMPTS = 3
"""Of a read when the connection breaks. Anything else is repeated only if no connection was made."""

P = ParamSpec("P")
Answer = TypeVar("Answer")


class Client:
    """A service, by its address. Close it, or use it in a `with`.

    Args:
        url: such as `http://127.0.0.1:8080`; `/api/v1` follows from it.
        token: of the service; None for none.
        seconds: how long an answer may take.

    Raises, every verb:
        ServerError: the service is unreachable, or refused; the message is the service's.
    """

    def __init__(self, url: str, token: str | None = None, *, seconds: float = ANSWER_SECONDS) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ServerError(f"{url!r} is not the address of a service; expected http://HOST:PORT or https://HOST")
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ServerError("the token has characters that a token cannot have; check SWEEPER_TOKEN")
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1/",
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
            transport=httpx.HTTPTransport(retries=ATTEMPTS - 1),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def name(self, sweep: str | None) -> str:
        if sweep is not None:
            return sweep
        found = list_sweeps(self)
        if not found:
            raise UnknownSweepError(f"no sweep was launched yet at {self.url}; try: sweeper launch --grid demo")
        return max(found, key=lambda s: s.created_at).sweep

    def ask(self, verb: Verb[P, Answer], *args: P.args, **kwargs: P.kwargs) -> Answer:
        call = verb.call(*args, **kwargs)
        answer = self._get(call) if verb.method == "GET" else self._post(call)
        try:
            return verb.read(answer.content, answer.headers)
        except ValueError as error:
            raise ServerError(f"{self.url} did not answer as a service does; check the address") from error

    def _get(self, call: Call) -> httpx.Response:
        again = Retrying(
            retry=retry_if_exception_type((httpx.NetworkError, httpx.RemoteProtocolError)),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=0.2),
            reraise=True,
        )
        return self._answer(lambda: again(self._http.request, "GET", call.path, params=call.given))

    def _post(self, call: Call) -> httpx.Response:
        return self._answer(lambda: self._http.request("POST", call.path, json=call.given))

    def _answer(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        try:
            answer = send()
        except httpx.TimeoutException as error:
            raise ServerError(f"the service at {self.url} did not answer in time; try again later") from error
        except httpx.HTTPError as error:
            raise ServerError(f"no service answers at {self.url} ({error}); start one with: sweeper serve") from error
        if answer.is_success:
            return answer
        raise ServerError(self._refusal(answer))

    def _refusal(self, answer: httpx.Response) -> str:
        try:
            detail = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            return f"{self.url} answered {answer.status_code}, and not as a service does; check the address"
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return f"{self.url}: {detail}; set SWEEPER_TOKEN, or SWEEPER_TOKEN_FILE to a file that holds it"
        return detail


def find_token(url: str, environment: Mapping[str, str], home: Path) -> str | None:
    """The token for a service: SWEEPER_TOKEN, the file SWEEPER_TOKEN_FILE, or on loopback what a service of this
    user's SWEEPER_HOME made for itself.

    Raises:
        ServerError: the file cannot be read, or others can read it.
    """
    if token := environment.get("SWEEPER_TOKEN", ""):
        return token
    if file := environment.get("SWEEPER_TOKEN_FILE", ""):
        return read_token(Path(file).expanduser(), "SWEEPER_TOKEN_FILE")
    own = home / OWN_TOKEN
    if (urlsplit(url).hostname or "") in LOOPBACK and own.exists():
        return read_token(own, "the service's own token")
    return None


def connect(url: str) -> Client:
    """A client with the token and the home folder that the environment names.

    Raises:
        ServerError, SettingsError: see `Client` and `find_token`.
    """
    from sweeper.settings import load_settings

    return Client(url, find_token(url, os.environ, load_settings().home))
