"""The requests that the page's buttons send to the API (`sweeper serve`). The token is sent and never stored."""

from __future__ import annotations

from collections.abc import Callable

from dashboards.errors import BoardError
from sweeper import verbs
from sweeper.errors import ServerError
from sweeper.server.client import Client
from sweeper.verbs.requests import ResumeRequest, RetryRequest, ScaleRequest, StopRequest, request
from sweeper.views.objects import Reply
from trials.errors import InputError

TIMEOUT = 30.0


class Api:
    """The API at a base URL; without a URL there are no buttons.

    Every method returns the answer of the API as a sentence.

    Raises, every method:
        BoardError: there is no API or token, or the API refused or did not answer; carries its message.
    """

    def __init__(self, server: str) -> None:
        self._server = server

    def retry(self, sweep: str, token: str, trial: str | None = None) -> str:
        """Retries this trial, or all failed ones."""
        asked = {"failed": True} if trial is None else {"trials": [trial]}
        return self._ask(token, lambda client: verbs.retry(client, sweep, request(RetryRequest, **asked)))

    def stop(self, sweep: str, token: str, *, now: bool) -> str:
        """Starts no more trials; with `now`, running ones stop after their epoch."""
        return self._ask(token, lambda client: verbs.stop(client, sweep, StopRequest(now=now)))

    def resume(self, sweep: str, token: str) -> str:
        """Starts a coordinator."""
        return self._ask(token, lambda client: verbs.resume(client, sweep, ResumeRequest()))

    def scale(self, sweep: str, token: str, concurrency: int) -> str:
        """Changes how many trials run at once."""
        return self._ask(
            token, lambda client: verbs.scale(client, sweep, request(ScaleRequest, concurrency=concurrency))
        )

    def _ask(self, token: str, verb: Callable[[Client], Reply]) -> str:
        if not self._server:
            raise BoardError("this board has no API; start it with --server URL, or set SWEEPER_SERVER")
        if not token:
            raise BoardError("enter a token first")
        try:
            with Client(self._server, token, seconds=TIMEOUT) as client:
                return verb(client).message
        except (ServerError, InputError) as error:
            # The advice of the message is for a command line; the page has a field for the token.
            said, advice, _ = str(error).partition("; set SWEEPER_TOKEN")
            raise BoardError(f"{said}; enter another token" if advice else said) from error
