"""Runs the service: opens the database, binds the address, and answers until it is stopped."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable

from storage.database import open_database
from storage.repository import Repository
from sweeper import logs
from sweeper.errors import ServerError
from sweeper.server.app import make_app
from sweeper.server.delivery import Delivery
from sweeper.server.duties import on_duty
from sweeper.server.guard import LOOPBACK
from sweeper.server.limits import limited
from sweeper.server.planners import Planners
from sweeper.server.recovery import Recovery
from sweeper.server.starts import Starts
from sweeper.server.tokens import OWN_TOKEN, load_tokens
from sweeper.settings import Settings
from sweeper.verbs import Host

HOSTS_VARIABLE = "SWEEPER_ALLOWED_HOSTS"
RETRY_SECONDS = 5.0
"""A request waits at most so long for an unreachable database."""


class _NoProbes(logging.Filter):
    """Leaves out the requests of health checks, one every few seconds."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "/healthz" not in str(record.args)


def serve(settings: Settings, host: str, port: int, say: Callable[[str], None], *, resume: bool = False) -> None:
    """Answers requests until SIGINT or SIGTERM. Coordinators that it started keep running.

    Args:
        settings: where things are.
        host: a name or address of this machine. All but loopback need tokens.
        port: 0 for one that is free.
        say: is told the address.
        resume: whether to resume sweeps whose coordinator is lost.

    Raises:
        ServerError: no token, or the address cannot be bound.
        StorageError: the database cannot be used.
    """
    settings.make_home()
    logs.configure(settings.log_format)
    logging.getLogger("uvicorn.access").addFilter(_NoProbes())
    tokens = load_tokens(os.environ, own=settings.home / OWN_TOKEN if host in LOOPBACK else None)
    hosts = [*LOOPBACK, host, *filter(None, os.environ.get(HOSTS_VARIABLE, "").split(","))]
    with (
        bound(host, port) as listener,
        Planners() as planners,
        open_database(settings.database, retry_for=RETRY_SECONDS) as database,
    ):
        starts = Starts(settings)
        here = Host(settings, Repository(database), starts, planners)
        app = make_app(here, tokens, hosts=hosts)
        starts.repeat()
        shown = f"[{host}]" if ":" in host else host
        say(f"serving on http://{shown}:{listener.getsockname()[1]}/api/v1")
        with on_duty(Delivery(here), *([Recovery(here)] if resume else [])):
            limited(app).run(sockets=[listener])


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        ServerError: no such address here, or the port is taken.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ServerError(f"{host}:{port} cannot be bound ({error.strerror}); name another --host or --port") from error
    return listener
