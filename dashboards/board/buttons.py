"""What the page's buttons ask of the API (`sweeper serve`). The person's token passes through and is kept nowhere."""

from __future__ import annotations

from collections.abc import Callable

from dashboards.errors import BoardError
from sweeper.errors import ServerError
from sweeper.server.client import Client

TIMEOUT = 30.0


class Api:
    """The service at a base URL; an empty one has no buttons.

    Every method returns the service's words.

    Raises, every method:
        BoardError: there is no service or token, or the service refused or gave no answer; carries its words.
    """

    def __init__(self, server: str) -> None:
        self._server = server

    def retry(self, sweep: str, token: str, trial: str | None = None) -> str:
        """Queues this trial again, or all failed ones."""
        if trial is None:
            return self._ask(token, lambda client: client.retry(sweep, failed=True))
        return self._ask(token, lambda client: client.retry(sweep, [trial]))

    def stop(self, sweep: str, token: str, *, now: bool) -> str:
        """Starts no more trials; with `now`, running ones end after their epoch."""
        return self._ask(token, lambda client: client.stop(sweep, now=now))

    def resume(self, sweep: str, token: str) -> str:
        """Starts a coordinator."""
        return self._ask(token, lambda client: client.resume(sweep))

    def scale(self, sweep: str, token: str, concurrency: int) -> str:
        """At most so many trials at once."""
        return self._ask(token, lambda client: client.scale(sweep, concurrency))

    def _ask(self, token: str, verb: Callable[[Client], str]) -> str:
        if not self._server:
            raise BoardError("this board has no API to ask; start it with --server URL, or set SWEEPER_SERVER")
        if not token:
            raise BoardError("enter a token first")
        try:
            with Client(self._server, token, seconds=TIMEOUT) as client:
                return verb(client)
        except ServerError as error:
            # Its advice is for a command line; on the page there is a field for the token.
            said, advice, _ = str(error).partition("; set SWEEPER_TOKEN")
            raise BoardError(f"{said}; enter another token" if advice else said) from error
