"""Alerts about a sweep: JSON for a command or a web address, words for a service such as Slack, ntfy or e-mail.

An alert is sent when the sweep has finished, when its circuit breaker has stopped it, when its coordinator ends with an
error, and when the sweep makes no progress for a while. Delivery has a thread and a time limit of its own: whatever the
receiver does, the sweep neither waits nor fails.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from tenacity import Retrying, retry_if_exception, retry_if_result, stop_after_attempt, wait_exponential

from sweeper.errors import SettingsError
from sweeper.run.coordinator import Coordinator
from sweeper.units import duration
from trials.states import SweepState

COMMAND_SECONDS = 30.0
"""A command that takes longer is killed, with the processes that it has started."""

REQUEST_SECONDS = 10.0
ATTEMPTS = 4
"""How often an alert is posted to an address that does not answer, or answers with a server error."""


class Event(StrEnum):
    """What an alert is about."""

    FINISHED = "finished"
    """Every trial has ended; `counts` says how many failed."""
    BROKEN = "broken"
    """The circuit breaker has stopped the sweep."""
    ABORTED = "aborted"
    """The coordinator ended with an error; the sweep can be resumed."""
    STALLED = "stalled"
    """No epoch and no trial has ended for a long time; sent once, until there is progress again."""


@dataclass(frozen=True, slots=True)
class Alert:
    """What the receiver gets, as one JSON object. `counts` are trials by state, `at` is in seconds since 1970."""

    sweep: str
    event: Event
    reason: str
    counts: Mapping[str, int]
    host: str
    at: float

    def body(self) -> bytes:
        """One line, so that a file to which a command adds them has an alert on each."""
        return json.dumps(asdict(self)).encode() + b"\n"

    def words(self) -> tuple[str, str]:
        """The same for a person: a title and a text."""
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)
        return f"{self.sweep}: {self.event}", "\n".join(
            line for line in (counts, self.reason, f"on {self.host}") if line
        )


class Alerts:
    """Sends the alerts of one sweep.

    Args:
        target: a command with its arguments, an http(s) address, or that of a service, such as `ntfy://…`; empty sends
            nothing.
        sweep: the sweep's name.
        say: gets a line for a person when an alert could not be delivered.

    Raises:
        SettingsError: see `check_target`.
    """

    def __init__(self, target: str, sweep: str, say: Callable[[str], None]) -> None:
        check_target(target)
        self.target, self.sweep, self._say = target, sweep, say

    def send(self, event: Event, counts: Mapping[str, int], reason: str = "") -> None:
        """Sends an alert in the background. The program does not end before it is delivered or has failed."""
        if self.target:
            alert = Alert(self.sweep, event, reason, dict(counts), socket.gethostname(), time.time())
            threading.Thread(target=self._deliver, args=(alert,), name="alert").start()

    def _deliver(self, alert: Alert) -> None:
        if _is_web(self.target):
            problem = post(self.target, alert.body())
        elif _is_service(self.target):
            problem = tell(self.target, *alert.words())
        else:
            problem = run(self.target, alert.body())
        if problem:
            self._say(f"the alert that {alert.sweep} is {alert.event} was not delivered: {problem}")


@contextmanager
def alerting(coordinator: Coordinator, target: str, stall_seconds: float, say: Callable[[str], None]) -> Iterator[None]:
    """Sends a coordinator's alerts: when it stalls, and when it is closed or ends with an error.

    Args:
        coordinator: of the sweep; closed within.
        target, say: see `Alerts`.
        stall_seconds: an alert is sent after this time without progress.

    Raises:
        SettingsError: see `check_target`.
    """
    alerts = Alerts(target, coordinator.sweep.name, say)
    try:
        with StallWatch(alerts, stall_seconds, lambda: coordinator.progressed, coordinator.counts):
            yield
    except Exception as error:
        alerts.send(Event.ABORTED, coordinator.counts(), str(error))
        raise
    if coordinator.state is SweepState.FINISHED:
        alerts.send(Event.FINISHED, coordinator.counts())
    elif coordinator.state is SweepState.BROKEN:
        alerts.send(Event.BROKEN, coordinator.counts(), coordinator.reason)


class StallWatch:
    """Sends an alert when a sweep makes no progress, while it is open.

    Args:
        alerts: where to.
        after: seconds without progress.
        progressed: the time of the last progress, by `clock`.
        counts: the trials by state.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        alerts: Alerts,
        after: float,
        progressed: Callable[[], float],
        counts: Callable[[], Mapping[str, int]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._alerts, self._after = alerts, after
        self._progressed, self._counts, self._clock = progressed, counts, clock
        self._alerted = -1.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()

    def look(self) -> None:
        """Sends the alert if it is due. Once it is open, its own thread calls this four times in each `after`."""
        last = self._progressed()
        if self._clock() - last >= self._after and last != self._alerted:
            self._alerted = last
            reason = f"no epoch and no trial has ended for {duration(self._after)}"
            self._alerts.send(Event.STALLED, self._counts(), reason)

    def _watch(self) -> None:
        while not self._closing.wait(min(self._after / 4, 10.0)):
            self.look()


def check_target(target: str) -> None:
    """Makes sure that alerts can be sent somewhere, before a sweep starts.

    Raises:
        SettingsError: no such command, the address has no host, or it is one that the library for services cannot use.
    """
    fix = "give --notify (or SWEEPER_NOTIFY) a command, https://HOST/PATH, or a service's address (docs/commands.md)"
    if not target:
        return
    if _is_web(target):
        try:
            whole = bool(urlsplit(target).hostname)
        except ValueError:
            whole = False
        if not whole:
            raise SettingsError(f"the address for alerts names no host; {fix}")
        return
    if _is_service(target):
        if _service(target) is None:
            raise SettingsError(
                f"the address for alerts, {target.partition('://')[0]}://…, is none that apprise can use; {fix}"
            )
        return
    try:
        words = shlex.split(target)
    except ValueError as error:
        raise SettingsError(f"the command for alerts cannot be read ({error}): {target}; {fix}") from error
    if not words or shutil.which(words[0]) is None:
        raise SettingsError(f"the command for alerts does not exist: {words[0] if words else target!r}; {fix}")


def run(command: str, body: bytes) -> str:
    """Gives `body` to the standard input of a command; why that failed, or an empty string."""
    try:
        process = subprocess.Popen(
            shlex.split(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    try:
        process.communicate(body, timeout=COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"the command took more than {COMMAND_SECONDS:.0f} s and was killed"
    return f"the command ended with exit code {process.returncode}" if process.returncode else ""


def post(address: str, body: bytes) -> str:
    """Posts `body` to a web address; why that failed, or an empty string. It has no path: that may be secret."""
    host = urlsplit(address).hostname
    retrying = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=0.5, max=10),
        retry=retry_if_exception(_transient),
        reraise=True,
    )
    try:
        retrying(_post_once, address, body)
    except httpx.HTTPStatusError as error:
        return f"{host} answers {error.response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{host}: {type(error).__name__}"
    return ""


def tell(address: str, title: str, text: str) -> str:
    """Sends words to a service; why that failed, or an empty string. It has no address, in which a password may be."""
    service = _service(address)
    retrying = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=0.5, max=10),
        retry=retry_if_result(lambda sent: not sent),
        retry_error_callback=lambda state: False,
    )
    sent = service is not None and retrying(service.notify, body=text, title=title)
    return "" if sent else f"{address.partition('://')[0]}:// does not take it"


def _service(address: str) -> Any:
    """The service of an address, as apprise knows it; None where it does not know it.

    Raises:
        SettingsError: apprise is not installed.
    """
    try:
        import apprise
    except ImportError as error:
        raise SettingsError(
            f"alerts to {address.partition('://')[0]}:// need apprise; install it with: "
            f"{sys.executable} -m pip install apprise"
        ) from error
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would print the address
    return apprise.Apprise.instantiate(address)


def _post_once(address: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    httpx.post(address, content=body, headers=headers, timeout=REQUEST_SECONDS).raise_for_status()


def _transient(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, httpx.TransportError)


def _is_service(target: str) -> bool:
    return bool(re.match(r"[a-z][a-z0-9+.-]*://", target, re.IGNORECASE)) and not _is_web(target)


def _is_web(target: str) -> bool:
    return target.startswith(("http://", "https://"))
