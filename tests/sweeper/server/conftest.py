"""A service over a stored sweep, in this process: real application, real database; starts are written down alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from storage.database import open_database
from storage.repository import Repository
from sweeper.server.app import make_app
from sweeper.server.slowdown import Slowdown
from sweeper.server.starts import Starts, read_start
from sweeper.server.tokens import load_tokens
from sweeper.settings import load_settings
from sweeper.verbs import Host
from sweeper.verbs.host import Start

FULL, READ = "f" * 32, "r" * 32
TOKENS = {"SWEEPER_TOKENS": f"read:{READ},full:{FULL}"}


@dataclass
class Recorded:
    """Stands at the edge where a process would be started: what was asked for, and how it ends."""

    starts: list[Start] = field(default_factory=list)
    status: int = 0
    words: str = ""

    def __call__(self, path: Path, log: Path) -> tuple[int, str]:
        self.starts.append(read_start(path))
        return self.status, self.words


@dataclass
class Served:
    """A service, what it started, and clients of it."""

    host: Host
    starts: Starts
    recorded: Recorded
    client: Callable[[str | None], TestClient]

    @property
    def full(self) -> TestClient:
        return self.client(FULL)

    @property
    def read(self) -> TestClient:
        return self.client(READ)

    @property
    def repository(self) -> Repository:
        return self.host.repository


@pytest.fixture
def served(stored: Path) -> Iterator[Served]:
    settings = load_settings()
    recorded = Recorded()
    with open_database(settings.database) as database:
        starts = Starts(settings, recorded)
        host = Host(settings, Repository(database), starts)
        app = make_app(host, load_tokens(TOKENS, own=None), slowdown=Slowdown(0.0))

        def client(token: str | None) -> TestClient:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return TestClient(app, "http://127.0.0.1:8080", raise_server_exceptions=False, headers=headers)

        yield Served(host, starts, recorded, client)
        starts.join(120)
