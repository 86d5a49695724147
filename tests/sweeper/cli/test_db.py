"""`sweeper db` as a stranger calls it: upgrade, export, import, and what each says when it cannot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import text

from storage.database import open_database
from storage.repository import Repository
from storage.studies import Studies
from sweeper.run.launch import run
from sweeper.session import Session
from sweeper.settings import Settings
from tests.older_demo import restore
from tests.results import result, scored
from trials.results import Epoch
from trials.states import TrialState

Command = Callable[..., Any]

OUTCOME = result(
    scores=(scored(p, f"case-{p}", "nucleus", 0.75, 0.6, 0.7, 0.8) for p in ("validation", "test")),
    history=(Epoch(1, 0.5, 0.6, 0.7, 0.1, 19, 1.5),),
)


def database_of(home: Path) -> str:
    return f"sqlite:///{home / 'sweeper.db'}"


def studies_of(home: Path) -> dict[str, dict[str, tuple[float | None, float | None]]]:
    """γ and value of each trial, by study and hash."""
    with open_database(database_of(home), create=False) as database, Studies(database) as studies:
        names = {t.study for t in Repository(database).trials("demo") if t.study}
        return {name: studies.values(name) for name in names}


@pytest.fixture
def with_gammas(stored: Path) -> Path:
    """The stored sweep, in which two values of γ have finished beside cross entropy."""
    with open_database(database_of(stored)) as database:
        repository = Repository(database)
        lease = repository.acquire_lease("demo", "test", 60)
        for trial in [t for t in repository.trials("demo") if t.study][:2]:
            attempt = repository.claim(lease, trial.hash)
            assert attempt is not None
            repository.finish(lease, attempt.id, OUTCOME)
        repository.release_lease(lease)
    return stored


def test_a_sweep_travels_to_another_home_with_its_optuna_studies(
    sweeper: Command, with_gammas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = sweeper("db", "export", "demo", "--to", str(tmp_path / "out"))
    assert (exported.status, exported.out, exported.err) == (0, f"demo is in {tmp_path / 'out'}\n", "")
    status = sweeper("status", "demo", "--json").out
    other = tmp_path / "other"
    monkeypatch.setenv("SWEEPER_HOME", str(other))
    imported = sweeper("db", "import", str(tmp_path / "out"))
    assert (imported.status, imported.err) == (0, "")
    assert imported.out == "demo: 18 trials imported; see: sweeper status demo\n"
    assert sweeper("status", "demo", "--json").out == status
    (study,) = {name: values for name, values in studies_of(other).items() if values}.items()
    assert sorted(study[1].values()) == [(0.5, 0.75), (0.5, 0.75)]
    again = sweeper("db", "import", str(tmp_path / "out"))
    assert "keep what this database has of them" in again.out
    assert studies_of(other)[study[0]] == study[1]


def test_csv_is_written_and_not_read(sweeper: Command, stored: Path, tmp_path: Path) -> None:
    sweeper("db", "export", "--to", str(tmp_path / "out"), "--format", "csv")
    assert "case-test" in (tmp_path / "out" / "score.csv").read_text()
    refused = sweeper("db", "import", str(tmp_path / "out"))
    assert refused.status == 2
    assert "CSV, which is for reading only" in refused.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("export", "dmo", "--to", "out"), "no sweep is named 'dmo'; did you mean 'demo'"),
        (("export", "demo"), "--to"),
        (("export", "demo", "--to", "out", "--format", "xlsx"), "xlsx"),
        (("export", "demo", "--to", "full"), "full exists and is not an empty folder; name another"),
        (("import", "full"), "sweep.json cannot be read"),
        (("import", "nowhere"), "sweep.json cannot be read"),
    ],
)
def test_mistakes_are_one_line(sweeper: Command, stored: Path, words: tuple[str, ...], says: str) -> None:
    Path("full").mkdir()
    Path("full", "file").touch()
    answer = sweeper("db", *words)
    assert (answer.status, answer.out) == (2, "")
    assert says in answer.err
    assert answer.err.count("\n") == 1


def test_a_wrong_folder_leaves_no_new_home_behind(sweeper: Command, home: Path, tmp_path: Path) -> None:
    assert sweeper("db", "import", str(tmp_path)).status == 2
    assert not home.exists()


class TestUpgrade:
    def test_the_newest_is_left_as_it_is(self, sweeper: Command, stored: Path) -> None:
        answer = sweeper("db", "upgrade")
        assert answer.status == 0
        assert answer.out == f"sqlite:///{stored / 'sweeper.db'} already has the newest schema: 0005\n"

    def test_what_refuses_an_older_database_names_the_command_that_upgrades_it(
        self, sweeper: Command, home: Path
    ) -> None:
        home.mkdir()
        restore(home / "sweeper.db")
        refused = sweeper("status")
        assert refused.status == 2
        assert "has schema 0002, this program needs 0005; make a backup, then run: sweeper db upgrade" in refused.err
        assert "was upgraded from 0002: 0005" in sweeper("db", "upgrade").out
        assert sweeper("status").status == 0

    def test_a_newer_one_is_refused(self, sweeper: Command, stored: Path) -> None:
        with open_database(database_of(stored)) as database:
            database.write(lambda c: c.execute(text("UPDATE sweeper_schema SET version_num = '9999'")))
        refused = sweeper("db", "upgrade")
        assert refused.status == 2
        assert "newer than this program's 0005; update the program" in refused.err

    def test_none_is_made(self, sweeper: Command, home: Path) -> None:
        refused = sweeper("db", "upgrade")
        assert refused.status == 2
        assert f"there is no database at {home / 'sweeper.db'}" in refused.err
        assert not home.exists()


def test_a_sweep_with_nothing_left_to_train_has_its_studies(with_gammas: Path) -> None:
    """All of its trials may be shared with others; or its coordinator was killed just before it recorded the last."""
    with open_database(database_of(with_gammas)) as database:
        repository = Repository(database)
        lease = repository.acquire_lease("demo", "test", 60)
        for trial in repository.trials("demo"):
            if trial.state is TrialState.QUEUED:
                attempt = repository.claim(lease, trial.hash)
                assert attempt is not None
                repository.finish(lease, attempt.id, OUTCOME)
        repository.release_lease(lease)
        assert not run(Session(Settings(home=with_gammas), repository, Console(quiet=True)), "demo")
    assert sorted(len(values) for values in studies_of(with_gammas).values()) == [3, 9]


def test_an_export_of_an_unreadable_place_is_refused_before_any_work(
    sweeper: Command, stored: Path, tmp_path: Path
) -> None:
    shutil.copy(stored / "sweeper.db", tmp_path / "file")
    refused = sweeper("db", "export", "demo", "--to", str(tmp_path / "file" / "out"))
    assert refused.status == 2
    assert "cannot be written" in refused.err
