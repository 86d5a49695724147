"""`sweeper db` as a stranger calls it: upgrade, export, import, and what each says when it cannot."""

from __future__ import annotations

import json
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
from sweeper.grids.details import details_of
from sweeper.grids.plugged import allow_files, load_plugins
from sweeper.run.launch import run
from sweeper.server.recovery import abandoned
from sweeper.session import Session
from sweeper.settings import Settings
from tests.older_demo import restore
from tests.results import result, scored
from trials.results import Epoch
from trials.spec import content_hash
from trials.states import SweepState, TrialState
from workers.plugins import PluginError

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


@pytest.mark.slow
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
    before, after = json.loads(status), json.loads(sweeper("status", "demo", "--json").out)
    assert (after.pop("state"), before.pop("state")) == ("stopped", "running")
    assert "imported while running" in after.pop("reason")
    assert after == {key: value for key, value in before.items() if key != "reason"}
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
        assert answer.out == f"sqlite:///{stored / 'sweeper.db'} already has the newest schema: 0006\n"

    def test_what_refuses_an_older_database_names_the_command_that_upgrades_it(
        self, sweeper: Command, home: Path
    ) -> None:
        home.mkdir()
        restore(home / "sweeper.db")
        refused = sweeper("status")
        assert refused.status == 2
        assert "has schema 0002, this program needs 0006; make a backup, then run: sweeper db upgrade" in refused.err
        assert "was upgraded from 0002: 0006" in sweeper("db", "upgrade").out
        assert sweeper("status").status == 0

    def test_a_newer_one_is_refused(self, sweeper: Command, stored: Path) -> None:
        with open_database(database_of(stored)) as database:
            database.write(lambda c: c.execute(text("UPDATE sweeper_schema SET version_num = '9999'")))
        refused = sweeper("db", "upgrade")
        assert refused.status == 2
        assert "newer than this program's 0006; update the program" in refused.err

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


@pytest.mark.slow
def test_an_export_of_an_unreadable_place_is_refused_before_any_work(
    sweeper: Command, stored: Path, tmp_path: Path
) -> None:
    shutil.copy(stored / "sweeper.db", tmp_path / "file")
    refused = sweeper("db", "export", "demo", "--to", str(tmp_path / "file" / "out"))
    assert refused.status == 2
    assert "cannot be written" in refused.err


CODE = """
from pathlib import Path
from dashboards.figures.registry import FIGURES
Path(__file__).with_suffix(".ran").touch()
"""


def with_code(folder: Path, reference: Path, *kinds: str) -> str:
    """Puts a plug-in into an exported sweep, as a colleague's launch would; its hash."""
    manifest = json.loads((folder / "sweep.json").read_text())
    source = content_hash(CODE)
    plugin = {"reference": str(reference), "source": source, "text": CODE, "names": {kind: ["mine"] for kind in kinds}}
    manifest["sweep"]["details"]["plugins"] = [plugin]
    manifest["sweep"]["details"]["imported"] = {"allowed": [source]}  # which is for this database to say
    (folder / "sweep.json").write_text(json.dumps(manifest))
    return source


class TestCodeThatTravels:
    @pytest.fixture
    def export(self, sweeper: Command, with_gammas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        sweeper("db", "export", "demo", "--to", str(tmp_path / "out"))
        monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "other"))
        return tmp_path / "out"

    @pytest.mark.parametrize("kind", ["losses", "samplers"])
    def test_a_sweep_that_needs_it_does_not_go_on(
        self, sweeper: Command, export: Path, tmp_path: Path, kind: str
    ) -> None:
        source = with_code(export, tmp_path / "code.py", kind)
        imported = sweeper("db", "import", str(export))
        assert imported.status == 0
        assert f"code that came with it and does not run: {kind} mine ({source})" in imported.out
        refused = sweeper("resume", "demo")
        assert refused.status == 2
        assert f"imported with code that may not run here: {kind} mine ({source})" in refused.err
        assert not (tmp_path / "code.ran").exists()

    def test_no_report_runs_it(self, sweeper: Command, export: Path, tmp_path: Path) -> None:
        kinds = ("tests", "figures", "sections", "metrics")
        with_code(export, tmp_path / "code.py", *kinds)
        sweeper("db", "import", str(export))
        with open_database(database_of(tmp_path / "other")) as database:
            load_plugins(Repository(database).sweep("demo"), kinds)
        assert not (tmp_path / "code.ran").exists()

    def test_a_person_allows_it_by_a_file_of_the_same_content(
        self, sweeper: Command, export: Path, tmp_path: Path
    ) -> None:
        with_code(export, tmp_path / "code.py", "figures")
        sweeper("db", "import", str(export))
        mine = tmp_path / "mine.py"
        mine.write_text(CODE + "#")
        with open_database(database_of(tmp_path / "other")) as database:
            repository = Repository(database)
            with pytest.raises(PluginError, match="is of no plug-in of sweep 'demo'; it has figures mine"):
                allow_files(repository, "demo", [mine])
            assert len(details_of(repository.sweep("demo")).inert) == 1
            mine.write_text(CODE)
            allow_files(repository, "demo", [mine])
            assert details_of(repository.sweep("demo")).inert == ()
            with pytest.raises(PluginError, match="registers nothing"):
                load_plugins(repository.sweep("demo"), ("figures",))
        assert (tmp_path / "code.ran").exists()

    def test_the_import_allows_it_with_allow_code_and_names_it(
        self, sweeper: Command, export: Path, tmp_path: Path
    ) -> None:
        source = with_code(export, tmp_path / "code.py", "losses")
        sweeper("db", "import", str(export))
        again = sweeper("db", "import", str(export), "--allow-code")
        assert f"code that may run here from now on: losses mine ({source})" in again.out
        with open_database(database_of(tmp_path / "other")) as database:
            assert details_of(Repository(database).sweep("demo")).inert == ()

    def test_a_plug_in_with_the_hash_of_another_is_refused(
        self, sweeper: Command, export: Path, tmp_path: Path
    ) -> None:
        with_code(export, tmp_path / "code.py", "losses")
        manifest = (export / "sweep.json").read_text().replace("touch()", "unlink()")
        (export / "sweep.json").write_text(manifest)
        refused = sweeper("db", "import", str(export), "--allow-code")
        assert refused.status == 2
        assert "is not the hash of its text" in refused.err

    def test_no_service_takes_an_imported_sweep_up_by_itself(
        self, sweeper: Command, export: Path, tmp_path: Path
    ) -> None:
        sweeper("db", "import", str(export))
        with open_database(database_of(tmp_path / "other")) as database:
            repository = Repository(database)
            lease = repository.acquire_lease("demo", "a coordinator that then dies", 60)
            assert repository.sweep("demo").state is SweepState.RUNNING
            repository.release_lease(lease)
            assert abandoned(repository) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.update(grid={"name": "demo", "seed": -1}), "seed = -1 must be at least 0"),
        (lambda s: s.update(grid={**s["grid"], "models": [5]}), "must be a table"),
        (lambda s: s["grid"].update(name="other"), "has the grid of 'other'"),
        (lambda s: s["details"].update(data={"../x": {}}), "a name or key that cannot be"),
        (lambda s: s["details"].update(data={"nuclei": {"cases": "many"}}), "data.nuclei.cases: input should be"),
        (lambda s: s["details"].update(plugins=5), "changed or damaged"),
    ],
)
def test_a_grid_or_details_that_cannot_be_are_one_line(
    sweeper: Command,
    with_gammas: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], object],
    says: str,
) -> None:
    sweeper("db", "export", "demo", "--to", str(tmp_path / "out"))
    manifest = json.loads((tmp_path / "out" / "sweep.json").read_text())
    change(manifest["sweep"])
    (tmp_path / "out" / "sweep.json").write_text(json.dumps(manifest))
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "other"))
    refused = sweeper("db", "import", str(tmp_path / "out"))
    assert (refused.status, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert says in refused.err
    assert "there are 0" in sweeper("status", "demo").err
