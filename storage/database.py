"""Opens a database and runs transactions in it, each retried as a whole while the fault may pass.

Not for queries: those are in the repository. SQLite gets WAL, foreign keys and a busy time-out; Postgres is reached by
psycopg 3.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from storage import schema
from storage.columns import now
from storage.errors import DatabaseFullError, DatabaseURLError
from storage.faults import explain, is_transient
from trials.addresses import hide_password, unencoded

T = TypeVar("T")

RETRY_SECONDS = 150.0
"""For how many seconds a transaction is retried by default: a database may be unreachable for two minutes."""

OPEN_SECONDS = 5.0
"""How long opening is tried: a wrong host should be told soon."""

_BUSY_SECONDS = 2.0


class Database:
    """A database that has our newest schema. Safe to share between threads, not across a fork.

    Args:
        url: normalised SQLAlchemy URL.
        engine: connections to it.
        retry_for: seconds during which a transaction that met a passing fault (lost connection, lock, serialisation
            failure) is run again from its start. A function given to `read` or `write` must therefore bear being
            run more than once, even after a commit whose acknowledgement was lost.
    """

    def __init__(self, url: URL, engine: Engine, *, retry_for: float = RETRY_SECONDS) -> None:
        self.retry_for = retry_for
        self.connect_url = url.render_as_string(hide_password=False)
        self._engine = engine
        if self.dialect == "sqlite":
            self._reader: Engine = engine
            self._writer: Engine = engine.execution_options(begin="BEGIN IMMEDIATE")
        else:
            # A read of several statements sees one moment; a write sees what others committed before each statement.
            self._reader, self._writer = engine.execution_options(isolation_level="REPEATABLE READ"), engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Database({self.url!r})"

    @property
    def url(self) -> str:
        """The URL with its password hidden, fit for messages."""
        return hide_password(self.connect_url)

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database."""
        name = self._engine.url.database
        return Path(name.removeprefix("file:")).resolve() if self.dialect == "sqlite" and name else None

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @property
    def engine(self) -> Engine:
        """The engine, for tools that read; writes belong in `write`."""
        return self._engine

    def read(self, work: Callable[[Connection], T]) -> T:
        """`work(connection)`, which only reads, in a transaction that sees the database at one moment.

        Raises:
            DatabaseUnavailableError: the fault lasted longer than `retry_for`.
        """
        return self._run(self._reader, work)

    def write(self, work: Callable[[Connection], T]) -> T:
        """`work(connection)` in one transaction: all of it is committed, or nothing.

        Raises:
            DatabaseUnavailableError: the fault lasted longer than `retry_for`.
            DatabaseURLError: the database is read-only, or the user lacks a permission; its disk may be full.
        """
        return self._run(self._writer, work)

    def now(self) -> float:
        """Seconds since the epoch by the database's clock."""
        return self.read(lambda connection: float(connection.execute(select(now())).scalar_one()))

    def use_write_ahead_log(self) -> None:
        """SQLite: lets readers and the writer work at the same time. Kept in the file, so once is enough."""
        if self.dialect == "sqlite":
            # It must run outside a transaction, so it takes the place of BEGIN.
            self._run(self._engine.execution_options(begin="PRAGMA journal_mode = WAL"), lambda connection: None)

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def retried(self, work: Callable[[], T]) -> T:
        """`work()`, again and again while it raises what may pass, for `retry_for` seconds at most.

        Raises:
            DatabaseUnavailableError: the fault lasted longer.
            DatabaseURLError: the database is read-only, or the user lacks a permission; its disk may be full.
        """
        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            stop=stop_after_delay(self.retry_for),
            wait=wait_random_exponential(multiplier=0.05, max=3),
            reraise=True,
        )
        try:
            return retrying(work)
        except SQLAlchemyError as error:
            meaning = explain(error, self.url, self.path)
            if meaning is None:
                raise
            raise meaning from error

    def _run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        def once() -> T:
            with engine.begin() as connection:
                return work(connection)

        return self.retried(once)


def open_database(
    url: str,
    *,
    create: bool = True,
    read_only: bool = False,
    retry_for: float = RETRY_SECONDS,
    open_for: float = OPEN_SECONDS,
) -> Database:
    """Opens `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`; an empty database gets our tables.

    In a URL `%`, `?` and `#` of a path are percent-encoded (`sqlite_url`), and so are `@`, `/` and `#` of a password.

    Args:
        url: where the database is. A relative SQLite path counts from the working directory.
        create: whether to make a missing SQLite file (and its folder) and the tables of an empty database.
        read_only: whether the database itself is to refuse every write on these connections; then nothing is created.
            On a full disk an SQLite file that exists is read so, whatever was asked; a write then says why it failed.
        retry_for: see `Database`.
        open_for: seconds during which an unreachable database is tried.

    Raises:
        DatabaseURLError: malformed, unknown kind, not there, or not permitted.
        DatabaseUnavailableError: unreachable.
        DatabaseFullError: there is no room to make it.
        SchemaMismatchError: the tables are of an older or a newer program.
    """
    create = create and not read_only
    try:
        return _opened(url, create=create, read_only=read_only, retry_for=retry_for, open_for=open_for)
    except DatabaseFullError:
        if create or not _log_is_empty(_parse(url)):
            raise
    # Even to read, SQLite makes files beside its own, for which there is no room; without them it reads what is whole.
    return _opened(url, create=False, read_only=True, retry_for=retry_for, open_for=open_for, unchanging=True)


def _opened(
    url: str, *, create: bool, read_only: bool, retry_for: float, open_for: float, unchanging: bool = False
) -> Database:
    database = connect(url, create=create, read_only=read_only, retry_for=open_for, unchanging=unchanging)
    try:
        schema.ensure(database, create=create)
    except BaseException:
        database.close()
        raise
    database.retry_for = retry_for
    return database


def upgrade(url: str) -> str:
    """Brings the tables at `url` to the newest schema in one transaction; returns its version, such as `0002`.

    Raises:
        SchemaMismatchError: the tables are of a newer program.
    """
    with connect(url, create=True, retry_for=OPEN_SECONDS) as database:
        return schema.upgrade(database)


def schema_version(url: str) -> str | None:
    """The version of the tables at `url`, None if there are none. Changes nothing."""
    with connect(url, create=False, retry_for=OPEN_SECONDS) as database:
        return database.read(schema.current)


def connect(url: str, *, create: bool, retry_for: float, read_only: bool = False, unchanging: bool = False) -> Database:
    """A `Database` whatever its schema is; for `open_database` and for upgrades.

    `unchanging`: an SQLite file that nobody writes.
    """
    parsed = _parse(url)
    options: dict[str, Any] = {"hide_parameters": True}
    if parsed.get_backend_name() == "sqlite":
        _check_file(parsed, create=create)
        options["connect_args"] = {"timeout": _BUSY_SECONDS}
        if mode := _mode(parsed, create=create, read_only=read_only, unchanging=unchanging):
            file = f"file:{quote(str(Path(parsed.database or '').resolve()))}?{mode}"
            options["creator"] = lambda: sqlite3.connect(file, uri=True, check_same_thread=False, timeout=_BUSY_SECONDS)
    else:
        # Without these a connection whose peer vanished hangs for hours.
        options["connect_args"] = {"connect_timeout": 10, "tcp_user_timeout": 30_000, "keepalives_idle": 15}
        if read_only:
            options["connect_args"]["options"] = "-c default_transaction_read_only=on"
    try:
        engine = create_engine(parsed, **options)
    except ModuleNotFoundError as error:
        raise DatabaseURLError(
            f"{url_name(parsed)}: {error}; install it by: pip install 'sweeper[postgres]'"
        ) from error
    if parsed.get_backend_name() == "sqlite":
        _prepare_sqlite(engine)
    return Database(parsed, engine, retry_for=retry_for)


def sqlite_url(file: Path) -> str:
    """The URL of an SQLite file, whatever signs its path has."""
    return URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database, None for a server or for what is no URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def url_name(url: URL) -> str:
    """The URL with its password hidden."""
    return hide_password(url.render_as_string(hide_password=True))


def _parse(url: str) -> URL:
    expected = "expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME"
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        # The original error quotes the URL with its password.
        fix = unencoded(url) or expected
        raise DatabaseURLError(f"not a database URL: {hide_password(url)!r}; {fix}") from None
    if parsed.get_backend_name() != "sqlite" and "@" in unencoded(url):
        # What follows the first @ would be looked up as a host, and shown.
        raise DatabaseURLError(f"{hide_password(url)} has more than one @; {unencoded(url)}")
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        if not parsed.database:
            raise DatabaseURLError(f"{url_name(parsed)} names no database; {expected}")
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.database in (None, "", ":memory:"):
            raise DatabaseURLError(f"{url_name(parsed)}: a database in memory forgets everything; name a file")
        return parsed
    raise DatabaseURLError(f"{url_name(parsed)}: {backend!r} by {parsed.drivername!r} is not supported; {expected}")


def _check_file(url: URL, *, create: bool) -> None:
    if "uri" in url.query:
        return
    path = Path(url.database or "")
    try:
        if path.is_dir():
            raise DatabaseURLError(f"{url_name(url)}: {path} is a folder; name a file in it")
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise DatabaseURLError(f"{url_name(url)}: there is no database at {path.resolve()}; check the path")
    except OSError as error:
        raise DatabaseURLError(f"{url_name(url)}: {error.strerror}: {error.filename}; name another place") from error


def _mode(url: URL, *, create: bool, read_only: bool, unchanging: bool) -> str:
    """How SQLite opens the file; empty for its usual way."""
    if "uri" in url.query or create:
        return ""
    if unchanging or _unchanging(url):
        return "immutable=1"
    return "mode=ro" if read_only else ""


def _unchanging(url: URL) -> bool:
    """Whether the file is one that SQLite refuses to read unless told that it does not change.

    That is one with a write-ahead log in a folder that this user may not write. Whoever writes to it has a log beside
    it; where there is none, the file is whole.
    """
    path = Path(url.database or "").resolve()
    effective = os.access in os.supports_effective_ids
    writable = os.access(path.parent, os.W_OK, effective_ids=effective)
    return not writable and not path.with_name(f"{path.name}-wal").exists()


def _log_is_empty(url: URL) -> bool:
    """Whether an SQLite file is whole without its write-ahead log."""
    if url.get_backend_name() != "sqlite" or "uri" in url.query:
        return False
    path = Path(url.database or "").resolve()
    log = path.with_name(f"{path.name}-wal")
    return not log.exists() or log.stat().st_size == 0


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come too late to be IMMEDIATE
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
