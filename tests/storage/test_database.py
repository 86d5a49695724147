"""Opening, refusing and losing a database."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from children import read_and_write, run_together, write_with_small_files
from postgres_server import PASSWORD, PostgresServer, folder_of, running_server
from sqlalchemy import Connection, ExceptionContext, event, select, text, update
from storage_samples import new_trials, outcome, trial_hash

from storage.columns import now
from storage.database import Database, open_database, sqlite_file, sqlite_url
from storage.errors import (
    DatabaseFullError,
    DatabaseLockedError,
    DatabaseUnavailableError,
    DatabaseURLError,
    NotWritableError,
    StorageError,
)
from storage.models import SweepRow
from storage.repository import Repository
from storage.studies import Studies
from trials.states import FailureKind, TrialState


def whole_text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


class TestURL:
    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("", "not a database URL"),
            ("sweeper.db", "not a database URL"),
            ("postgresql://u:secret@host:port/db", "not a database URL"),
            ("mysql://u:secret@host/db", "'mysql' by 'mysql' is not supported"),
            ("postgresql+psycopg2://u:secret@host/db", r"'postgresql\+psycopg2' is not supported"),
            ("nosuch+thing://u:secret@host/db", "not supported"),
            ("postgresql://u:secret@host", "names no database"),
            ("postgresql://u:sec@ret@host", "has more than one @; in a password write @ as %40"),
            ("postgresql://u:sec@ret/secret@host/db", "write @ as %40, / as %2F"),
            ("postgresql://u:secret#se/cret@host:port/db", "write / as %2F, # as %23"),
            ("postgresql://u:secret/db", "not a database URL"),
            ("postgresql://host?password=secret", "names no database"),
            ("sqlite://", "in memory forgets everything"),
            ("sqlite:///:memory:", "in memory forgets everything"),
        ],
    )
    def test_senseless(self, url: str, says: str) -> None:
        with pytest.raises(DatabaseURLError, match=says) as caught:
            open_database(url)
        assert "secret" not in whole_text(caught.value)
        assert "ret@" not in str(caught.value)

    def test_a_folder_is_made_only_on_request(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "sweeper.db"
        with pytest.raises(DatabaseURLError, match=rf"there is no database at {path}"):
            open_database(sqlite_url(path), create=False)
        assert not (tmp_path / "a").exists()
        open_database(sqlite_url(path)).close()
        open_database(sqlite_url(path), create=False).close()

    def test_places_that_cannot_be(self, tmp_path: Path) -> None:
        with pytest.raises(DatabaseURLError, match="is a folder"):
            open_database(sqlite_url(tmp_path))
        (tmp_path / "file").write_text("x")
        with pytest.raises(DatabaseURLError, match=r"File exists|Not a directory"):
            open_database(sqlite_url(tmp_path / "file" / "sweeper.db"))
        (tmp_path / "file").write_text("x" * 5000)
        with pytest.raises(DatabaseURLError, match="not a healthy SQLite database"):
            open_database(sqlite_url(tmp_path / "file"))

    @pytest.mark.parametrize("folder", ["a%20b", "a?b#c d", "100%{b}@c:ü"])
    def test_the_file_is_where_its_path_says_whatever_signs_it_has(self, tmp_path: Path, folder: str) -> None:
        path = tmp_path / folder / "sweeper.db"
        path.parent.mkdir()
        with open_database(sqlite_url(path)) as database, Studies(database) as studies:
            studies.record("s", trial_hash="a" * 16, gamma=0.5, value=0.5)
            assert database.path == sqlite_file(sqlite_url(path)) == path
        assert [found.name for found in tmp_path.iterdir()] == [folder]
        with open_database(sqlite_url(path), create=False) as database, Studies(database) as studies:
            assert list(studies.values("s")) == ["a" * 16]

    def test_repr_and_url_hide_the_password(self, database: Database) -> None:
        assert PASSWORD not in repr(database) + database.url
        assert PASSWORD in database.connect_url or database.dialect == "sqlite"


@pytest.mark.postgres
class TestPostgresRefusals:
    @pytest.mark.parametrize("change", [{"password": "wrong-secret"}, {"user": "nobody-here"}, {"database": "nope"}])
    def test_no_entry(self, postgres: PostgresServer, change: dict[str, str]) -> None:
        before = postgres.refusals
        with pytest.raises(DatabaseURLError, match="check user, password and database name") as caught:
            open_database(postgres.url(**change))
        assert postgres.refusals == before + 1, "a wrong password must not be tried again"
        assert PASSWORD not in whole_text(caught.value)
        assert "wrong-secret" not in whole_text(caught.value)

    def test_unreachable(self) -> None:
        with pytest.raises(DatabaseUnavailableError, match=r"u:\*\*\*@127.0.0.1:1/db: .*is it running") as caught:
            open_database(f"postgresql://u:{PASSWORD}@127.0.0.1:1/db", open_for=0.3)
        assert PASSWORD not in whole_text(caught.value)

    def test_a_user_without_permission(self, postgres: PostgresServer, postgres_url: str) -> None:
        name = postgres_url.rsplit("/", 1)[1]
        postgres.execute(f"CREATE ROLE reader_{name} LOGIN PASSWORD '{PASSWORD}'")
        for table in ("sweeper_schema", "sweep"):
            postgres.execute(f"GRANT SELECT ON {table} TO reader_{name}", name)
        with open_database(postgres.url(name, user=f"reader_{name}")) as database:
            assert Repository(database).sweeps() == []
            with pytest.raises(NotWritableError, match=r"permission denied .*lacks the permission: GRANT"):
                Repository(database).create_sweep("s", grid={}, trials=[])

    def test_a_read_only_server(self, postgres: PostgresServer, postgres_url: str) -> None:
        postgres.execute(f"ALTER DATABASE {postgres_url.rsplit('/', 1)[1]} SET default_transaction_read_only = on")
        with open_database(postgres_url) as database:
            with pytest.raises(NotWritableError, match="read-only"):
                Repository(database).create_sweep("s", grid={}, trials=[])
            assert Repository(database).sweeps() == []

    def test_short_and_long_scheme_are_the_same(self, postgres_url: str) -> None:
        for scheme in ("postgres", "postgresql+psycopg"):
            with open_database(postgres_url.replace("postgresql", scheme)) as database:
                assert database.dialect == "postgresql"


class TestSQLite:
    def test_read_only(self, tmp_path: Path) -> None:
        path = tmp_path / "sweeper.db"
        with open_database(sqlite_url(path)) as database:
            Repository(database).create_sweep("study", grid={}, trials=new_trials(1))
        with open_database(f"sqlite:///file:{path}?mode=ro&uri=true", create=False) as database:
            repository = Repository(database)
            assert repository.sweep("study").name == "study"
            begun: list[Connection] = []
            event.listen(database.engine, "begin", begun.append)
            with pytest.raises(NotWritableError, match=r"readonly database; the database is read-only here"):
                repository.acquire_lease("study", "h", 10)
            assert len(begun) == 1, "a write that is refused must not be tried again"

    @pytest.mark.parametrize("folder", [0o555, pytest.param(0o777, marks=pytest.mark.slow)])
    def test_a_file_without_write_permission(self, folder: int) -> None:
        """Also in a folder that may not be written, where SQLite would have no place for its log."""
        place = folder_of("nobody" if os.geteuid() == 0 else None)  # not tmp_path, which only its owner may enter
        try:
            path = place / "a #b" / "sweeper.db"
            with open_database(sqlite_url(path)) as database:
                Repository(database).create_sweep("study", grid={}, trials=new_trials(1))
            path.chmod(0o444)
            path.parent.chmod(folder)
            (said,) = run_together((read_and_write, sqlite_url(path)))
            path.parent.chmod(0o755)
        finally:
            shutil.rmtree(place)
        assert said.startswith("['study'] ")
        assert "the database is read-only here: give this user write permission" in said

    def test_settings_of_every_connection(self, tmp_path: Path) -> None:
        with open_database(sqlite_url(tmp_path / "sweeper.db")) as database:
            settings = {
                name: database.read(lambda c, n=name: c.execute(text(f"PRAGMA {n}")).scalar_one())  # type: ignore[misc]
                for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
            }
        assert settings == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 2000, "synchronous": 1}

    def test_a_lock_is_waited_for_and_no_longer_than_asked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storage.database._BUSY_SECONDS", 0.1)
        path = tmp_path / "sweeper.db"
        with open_database(sqlite_url(path)) as database:
            repository = Repository(database)
            repository.create_sweep("study", grid={}, trials=new_trials(1))
            blocker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            blocker.execute("BEGIN IMMEDIATE")
            assert repository.sweep("study").name == "study", "readers do not wait"
            database.retry_for = 0.1
            with pytest.raises(DatabaseUnavailableError, match="locked"):
                repository.acquire_lease("study", "h", 10)
            database.retry_for = 60
            at_the_first_error(database, lambda: blocker.execute("COMMIT"))
            assert repository.acquire_lease("study", "h", 10).fencing == 1
            blocker.close()

    def test_a_lock_of_another_process_is_told_with_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storage.database._BUSY_SECONDS", 0.1)
        path = tmp_path / "sweeper.db"
        hold = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        hold += "c.execute('BEGIN IMMEDIATE'); print(1, flush=True); sys.stdin.read()"
        with open_database(sqlite_url(path)) as database:
            repository = Repository(database)
            repository.create_sweep("study", grid={}, trials=new_trials(1))
            pipe = subprocess.PIPE
            with subprocess.Popen([sys.executable, "-c", hold, path], stdin=pipe, stdout=pipe) as other:
                assert other.stdout is not None
                other.stdout.readline()
                database.retry_for = 0.1
                with pytest.raises(DatabaseLockedError, match=rf"python.* \(pid {other.pid}\) holds it"):
                    repository.acquire_lease("study", "h", 10)
                other.kill()


class TestFullDisk:
    """At no byte free: told at once, and what only reads goes on reading."""

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        disk = tmp_path / "disk"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a small disk")
        yield disk
        subprocess.run(["umount", "--lazy", disk], check=True)

    def test_a_write_says_so_at_once_and_after_making_room_all_goes_on(self, disk: Path) -> None:
        with open_database(sqlite_url(disk / "sweeper.db")) as database:
            repository = Repository(database)
            repository.create_sweep("study", grid={}, trials=new_trials(1))
            fill(disk)
            begun: list[Connection] = []
            event.listen(database.engine, "begin", begun.append)
            with pytest.raises(DatabaseFullError, match=r"disk is full; make room on its disk \(sweeper gc\)"):
                repository.create_sweep("large", grid={}, trials=new_trials(500))
            assert len(begun) == 1, "what needs room must not be tried again"
            (disk / "ballast").unlink()
            assert [sweep.name for sweep in repository.sweeps()] == ["study"]
            repository.create_sweep("large", grid={}, trials=new_trials(10))

    def test_it_is_read_and_a_write_says_why_it_cannot_be(self, disk: Path) -> None:
        url = sqlite_url(disk / "sweeper.db")
        with open_database(url) as database:
            Repository(database).create_sweep("study", grid={}, trials=new_trials(1))
        fill(disk)
        with open_database(url, create=False) as database:
            assert [sweep.name for sweep in Repository(database).sweeps()] == ["study"]
            with pytest.raises(DatabaseFullError, match="make room on its disk"):
                Repository(database).acquire_lease("study", "h", 10)
        with pytest.raises(DatabaseFullError):
            open_database(sqlite_url(disk / "new.db"))

    def test_a_limit_on_the_size_of_files_is_no_full_disk(self, tmp_path: Path) -> None:
        """As with a quota, or a disk that became read-only: writing fails though there is room."""
        url = sqlite_url(tmp_path / "sweeper.db")
        open_database(url).close()
        (said,) = run_together((write_with_small_files, url))
        assert "DatabaseFullError" in said
        assert f"the disk of {tmp_path} has room: put right what forbids to write, a quota" in said
        open_database(url, create=False).close()


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


class TestTransactions:
    def test_an_error_undoes_all(self, database: Database) -> None:
        repository = Repository(database)
        repository.create_sweep("study", grid={}, trials=[])

        def work(connection: Connection) -> None:
            connection.execute(update(SweepRow).values(description="half"))
            raise KeyError("defect")

        with pytest.raises(KeyError):
            database.write(work)
        assert repository.sweep("study").description == ""

    def test_a_read_sees_one_moment(self, database: Database) -> None:
        repository = Repository(database)

        def work(connection: Connection) -> list[int]:
            count = text("SELECT count(*) FROM sweep")
            before = connection.execute(count).scalar_one()
            thread = threading.Thread(target=repository.create_sweep, args=("s",), kwargs={"grid": {}, "trials": []})
            thread.start()
            thread.join()
            return [before, connection.execute(count).scalar_one()]

        assert database.read(work) == [0, 0]
        assert len(repository.sweeps()) == 1

    def test_the_clock_moves_within_a_transaction(self, database: Database) -> None:
        def work(connection: Connection) -> list[float]:
            read = [connection.execute(select(now())).scalar_one()]
            while read[-1] == read[0]:  # one that stands still within a transaction ends with the test's time
                read.append(connection.execute(select(now())).scalar_one())
            return [read[0], read[-1]]

        between = [time.time(), *database.write(work), database.now(), time.time()]
        assert between == pytest.approx(sorted(between), abs=0.002), "SQLite's clock ticks in milliseconds"


@pytest.mark.postgres
class TestLostConnections:
    """A connection that drops in the middle of a transaction: all is done once, or nothing."""

    @pytest.fixture
    def server(self) -> Iterator[PostgresServer]:
        with running_server() as server:
            yield server

    def test_dropped_in_the_middle(self, postgres: PostgresServer, postgres_url: str) -> None:
        with open_database(postgres_url, retry_for=20) as database:
            repository = Repository(database)
            repository.create_sweep("study", grid={}, trials=[])
            runs: list[int] = []

            def work(connection: Connection) -> None:
                connection.execute(update(SweepRow).values(description=SweepRow.description + "x"))
                runs.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
                if len(runs) == 1:
                    postgres.execute(f"SELECT pg_terminate_backend({runs[0]})")
                connection.execute(update(SweepRow).values(reason="done"))

            database.write(work)
            assert len(set(runs)) == 2
            assert repository.sweep("study").description == "x"

    @pytest.mark.parametrize("call", ["claim", "acquire", "finish", "request", "create", "fail", "extend"])
    def test_dropped_after_the_commit_before_its_answer(self, postgres_url: str, call: str) -> None:
        """The cruellest moment: the server has committed, and the client cannot know."""
        with open_database(postgres_url, retry_for=20) as database:
            repository = Repository(database)
            repository.create_sweep("study", grid={}, trials=new_trials(3))
            lease = repository.acquire_lease("study", "h", 1000)
            attempt = repository.claim(lease, trial_hash(0))
            assert attempt is not None
            if call == "acquire":
                repository.release_lease(lease)
            lose_one_answer(database)
            calls: dict[str, Callable[[], object]] = {
                "claim": lambda: repository.claim(lease, trial_hash(1)),
                "acquire": lambda: repository.acquire_lease("study", "h2", 1000),
                "finish": lambda: repository.finish(lease, attempt.id, outcome()),
                "request": lambda: repository.add_request("study", "stop"),
                "create": lambda: repository.create_sweep("new", grid={}, trials=new_trials(2)),
                "fail": lambda: repository.fail(lease, attempt.id, FailureKind.BUG, "x", requeue=True),
                "extend": lambda: repository.create_sweep("study", grid={}, trials=new_trials(5), extend=True),
            }
            result = calls[call]()
            attempts = repository.attempts_of_sweep("study")
            assert database.answers_lost == 1  # type: ignore[attr-defined]
            if call == "claim":
                assert result is not None
                assert len(attempts) == 2
                assert result == attempts[1]
            elif call == "acquire":
                assert result == repository.lease("study")
                assert result.fencing == 2  # type: ignore[attr-defined]
            elif call == "finish":
                assert len(repository.score_columns("study")["trial"]) == 8
            elif call == "request":
                assert repository.requests("study") == [result]
            elif call == "create":
                assert len(repository.trials("new")) == 2
            elif call == "fail":
                assert repository.trials("study")[0].state == TrialState.QUEUED
                assert len(attempts) == 1
            else:
                assert len(repository.trials("study")) == 5

    @pytest.mark.slow
    def test_a_killed_server_that_comes_back_loses_nothing(self, server: PostgresServer) -> None:
        with open_database(server.new_database(), retry_for=60) as database:
            repository = Repository(database)
            repository.create_sweep("study", grid={}, trials=new_trials(2))
            lease = repository.acquire_lease("study", "h", 1000)
            attempt = repository.claim(lease, trial_hash(0))
            assert attempt is not None
            server.kill()
            at_the_first_error(database, server.start)
            repository.finish(lease, attempt.id, outcome())
            assert len(repository.score_columns("study")["trial"]) == 8
            server.kill()
            database.retry_for = 0.1
            with pytest.raises(DatabaseUnavailableError):
                repository.sweeps()
            server.start()
            database.retry_for = 60
            assert len(repository.sweeps()) == 1


def at_the_first_error(database: Database, act: Callable[[], object]) -> None:
    """Calls `act` once, when the database has refused something; what is tried again comes after it."""

    @event.listens_for(database.engine, "handle_error", once=True)
    def acted(context: ExceptionContext) -> None:
        act()


def lose_one_answer(database: Database) -> None:
    """The next commit happens, and then its connection is gone before the client hears of it."""
    engine = database.engine
    commit = engine.dialect.do_commit
    database.answers_lost = 0  # type: ignore[attr-defined]

    def commit_and_lose(connection: object) -> None:
        commit(connection)  # type: ignore[arg-type]
        if database.answers_lost == 0:  # type: ignore[attr-defined]
            database.answers_lost = 1  # type: ignore[attr-defined]
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    engine.dialect.do_commit = commit_and_lose  # type: ignore[method-assign]


def test_every_error_has_one_root() -> None:
    from storage import errors

    kinds = [k for k in vars(errors).values() if isinstance(k, type) and k.__module__ == errors.__name__]
    assert len(kinds) > 9
    assert all(issubclass(kind, StorageError) for kind in kinds)
