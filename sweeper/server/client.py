"""Talks to a service (`sweeper serve`): the verbs of `sweeper.verbs` over HTTP, and those that a service alone has."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from storage.errors import UnknownSweepError
from sweeper.errors import ServerError
from sweeper.server.guard import LOOPBACK
from sweeper.server.tokens import OWN_TOKEN, read_token
from sweeper.verbs import Table

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
ATTEMPTS = 3
"""So often a read is tried when the connection breaks; anything else only where no connection came about."""


class Client:
    """A service, by its address. Close it, or use it in a `with`.

    Args:
        url: such as `http://127.0.0.1:8080`; `/api/v1` follows from it.
        token: of the service; None for none.
        seconds: how long an answer may take.

    Raises, every method:
        ServerError: the service can't be reached, or refused; the message is the service's.
    """

    def __init__(self, url: str, token: str | None = None, *, seconds: float = ANSWER_SECONDS) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ServerError(f"{url!r} is no address of a service: expected http://HOST:PORT or https://HOST")
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ServerError("the token has characters that no token has; look at SWEEPER_TOKEN")
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
        sweeps = self.list()
        if not sweeps:
            raise UnknownSweepError(f"no sweep was launched yet at {self.url}; try: sweeper launch --grid demo")
        return str(max(sweeps, key=lambda s: s["created_at"])["sweep"])

    def list(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("sweeps").json()
        return found

    def status(self, sweep: str, *, brief: bool = False) -> dict[str, Any]:
        return self._object(self._get(f"sweeps/{_part(sweep)}", {"brief": "true"} if brief else None))

    def stop(self, sweep: str, *, now: bool = False) -> str:
        return self._ask(f"sweeps/{_part(sweep)}/stop", {"now": now})

    def scale(self, sweep: str, concurrency: int) -> str:
        return self._ask(f"sweeps/{_part(sweep)}/scale", {"concurrency": concurrency})

    def retry(self, sweep: str, trials: Sequence[str] = (), *, failed: bool = False) -> str:
        """Queues trials again, by the first digits of their hashes or all that have failed; a line that says so."""
        asked = {**({"trials": list(trials)} if trials else {}), **({"failed": True} if failed else {})}
        return self._ask(f"sweeps/{_part(sweep)}/retry", asked)

    def resume(self, sweep: str, *, limit: int | None = None) -> str:
        """Starts a coordinator; a line that says so."""
        return self._ask(f"sweeps/{_part(sweep)}/resume", {} if limit is None else {"limit": limit})

    def plan(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What `Plan.to_dict` gives, with `differences`; `asked` as `sweeper.server.schemas.PlanRequest` has it."""
        return self._object(self._send("POST", "plan", json=asked))

    def launch(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Submits a grid, as `sweeper.server.schemas.LaunchRequest` has it; `sweep`, `message` and `differences`."""
        return self._object(self._send("POST", "sweeps", json=asked))

    def report(self, sweep: str) -> str:
        """The report as HTML."""
        return self._get(f"sweeps/{_part(sweep)}/report").text

    def log(self, prefix: str) -> str:
        return self._get(f"trials/{_part(prefix)}/log").text

    def trial(self, prefix: str) -> dict[str, Any]:
        return self._object(self._get(f"trials/{_part(prefix)}"))

    def results(self, sweep: str) -> dict[str, Any]:
        return self._object(self._get(f"sweeps/{_part(sweep)}/results"))

    def results_parquet(self, sweep: str, table: Table = "scores") -> bytes:
        asked = {"format": "parquet", "table": table}
        return self._get(f"sweeps/{_part(sweep)}/results", asked).content

    def _ask(self, path: str, asked: Mapping[str, Any]) -> str:
        return str(self._object(self._send("POST", path, json=asked))["message"])

    def _get(self, path: str, asked: Mapping[str, str] | None = None) -> httpx.Response:
        again = Retrying(
            retry=retry_if_exception_type((httpx.NetworkError, httpx.RemoteProtocolError)),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=0.2),
            reraise=True,
        )
        return self._answer(lambda: again(self._http.request, "GET", path, params=asked))

    def _send(self, method: str, path: str, **asked: Any) -> httpx.Response:
        return self._answer(lambda: self._http.request(method, path, **asked))

    def _answer(self, send: Any) -> httpx.Response:
        try:
            answer: httpx.Response = send()
        except httpx.TimeoutException as error:
            raise ServerError(f"the service at {self.url} gave no answer in time; try again") from error
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

    def _object(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            found = answer.json()
        except ValueError as error:
            raise ServerError(f"{self.url} did not answer as a service does; check the address") from error
        if not isinstance(found, dict):
            raise ServerError(f"{self.url} did not answer as a service does; check the address")
        return found


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


def _part(name: str) -> str:
    return quote(name, safe="")
