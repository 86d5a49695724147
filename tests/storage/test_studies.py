"""The Optuna studies: each finished trial once, whoever is killed when, and readable by Optuna's own tools."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from children import die_while_recording, record, run_together, start
from filelock import FileLock
from optuna.storages import RDBStorage
from postgres_server import PostgresServer
from sqlalchemy import text
from storage_samples import new_trials, outcome

from storage import _optuna_rows
from storage.database import Database, open_database
from storage.errors import DatabaseUnavailableError, InvalidScoreError, SchemaMismatchError
from storage.repository import Repository
from storage.studies import Studies, StudyParameter
from tests.results import scored

PRUNED = optuna.trial.TrialState.PRUNED


def make_all_tables(url: str) -> None:
    with open_database(url) as opened:
        storage = RDBStorage(Studies(opened).optuna_url)
    storage.remove_session()
    storage.engine.dispose()


@pytest.fixture(scope="module")
def postgres_template(postgres: PostgresServer) -> str:
    """Name of a database with our tables and Optuna's, which takes longer to make its own than most tests."""
    url = postgres.new_database()
    make_all_tables(url)
    return url.rsplit("/", 1)[1]


@pytest.fixture(scope="module")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with our tables and Optuna's."""
    file = tmp_path_factory.mktemp("studies") / "sweeper.db"
    make_all_tables(f"sqlite:///{file}")
    return file


@pytest.fixture
def emptied_urls() -> list[str]:
    """None: only our tables are emptied."""
    return []


@pytest.fixture
def studies(database: Database) -> Iterator[Studies]:
    with Studies(database) as opened:
        yield opened


def test_optuna_reads_what_was_recorded(studies: Studies) -> None:
    for index in range(3):
        assert studies.record(
            "nuclei · asym",
            trial_hash=f"h{index}",
            gamma=index / 10,
            value=0.5 + index / 10,
            user_attrs={"test_dsc": 0.4},
        )
    storage = RDBStorage(studies.optuna_url)
    study = optuna.load_study(study_name="nuclei · asym", storage=storage)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    assert study.best_trial.user_attrs == {"hash": "h2", "test_dsc": 0.4}
    assert study.best_params == {"gamma": 0.2}
    distribution = study.trials[0].distributions["gamma"]
    storage.remove_session()
    storage.engine.dispose()
    assert distribution == optuna.distributions.FloatDistribution(0.0, 0.99)
    assert list(studies.values("nuclei · asym").items()) == [("h0", (0.0, 0.5)), ("h1", (0.1, 0.6)), ("h2", (0.2, 0.7))]


def test_a_pruned_trial_with_its_scores_and_further_parameters(studies: Studies) -> None:
    rate = StudyParameter(0.03, 0.01, 0.3, log=True)
    for _ in range(2):
        added = studies.record(
            "s", trial_hash="p", gamma=0.25, value=None, parameters={"learning_rate": rate},
            intermediate={2: 0.5, 1: 0.25, 3: math.nan}, pruned=True,
        )  # fmt: skip
    assert not added
    studies.record(
        "s", trial_hash="c", gamma=0.5, value=0.75, parameters={"learning_rate": rate}, intermediate={1: 0.5}
    )
    studies.record("s", trial_hash="none", gamma=0.5, value=0.75, pruned=True)
    pruned, complete, without = studies.study("s").trials
    assert (pruned.state, pruned.value, pruned.intermediate_values) == (PRUNED, 0.5, {1: 0.25, 2: 0.5})
    assert pruned.params == {"gamma": 0.25, "learning_rate": 0.03}
    assert pruned.distributions["learning_rate"] == optuna.distributions.FloatDistribution(0.01, 0.3, log=True)
    assert (complete.value, complete.intermediate_values) == (0.75, {1: 0.5})
    assert (without.state, without.value) == (PRUNED, None)


@pytest.mark.slow
@pytest.mark.parametrize("version", [_optuna_rows.VERSION, "another"])
def test_a_trial_reads_as_one_that_optuna_added(
    studies: Studies, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was written in bulk or, where Optuna's tables are of another version, by Optuna."""
    monkeypatch.setattr(_optuna_rows, "VERSION", version)
    rate = StudyParameter(0.03, 0.01, 0.3, log=True)
    trials: dict[str, dict[str, Any]] = {
        "a": {"gamma": 0.5, "value": 0.75, "user_attrs": {"test_dsc": 0.5, "note": None}},
        "b": {"gamma": None, "value": None},
        "c": {"gamma": 0.1, "value": None, "intermediate": {1: 0.25}, "pruned": True, "parameters": {"rate": rate}},
    }
    before = datetime.datetime.now()
    for trial_hash, values in trials.items():
        assert studies.record("ours", trial_hash=trial_hash, **values)
    ours, theirs = studies.study("ours"), studies.study("theirs")
    for trial in ours.get_trials():
        theirs.add_trial(trial)
    assert not studies.record("theirs", trial_hash="a", **trials["a"]), "one that another program added"
    assert studies.record("theirs", trial_hash="d", **trials["a"])
    assert theirs.get_trials()[-1].number == 3
    storage = RDBStorage(studies.optuna_url)
    read = {name: optuna.load_study(study_name=name, storage=storage).trials for name in ("ours", "theirs")}
    storage.remove_session()
    storage.engine.dispose()
    assert [t.number for t in read["ours"]] == [0, 1, 2]
    for one, other in zip(read["ours"], read["theirs"], strict=False):
        assert {**vars(one), "_trial_id": 0} == {**vars(other), "_trial_id": 0}
        assert before <= one.datetime_complete <= datetime.datetime.now()


def test_a_study_says_how_it_was_searched(studies: Studies) -> None:
    for _ in range(2):
        studies.describe("s", {"search": {"sampler": "tpe", "trials": 5}, "hash": "a"})
    studies.describe("s", {"hash": "b"})
    assert studies.study("s").user_attrs == {"search": {"sampler": "tpe", "trials": 5}, "hash": "b"}


def test_twice_is_once(studies: Studies, database: Database) -> None:
    assert studies.record("s", trial_hash="a", gamma=0.5, value=0.5)
    assert not studies.record("s", trial_hash="a", gamma=0.5, value=0.5)
    with Studies(database) as second:
        assert not second.record("s", trial_hash="a", gamma=0.7, value=0.9)
    assert studies.record("other", trial_hash="a", gamma=0.5, value=0.5)
    assert studies.values("s") == {"a": (0.5, 0.5)}


def test_without_gamma_or_value(studies: Studies) -> None:
    studies.record("s", trial_hash="ce", gamma=None, value=0.5)
    studies.record("s", trial_hash="none", gamma=0.1, value=None)
    studies.record("s", trial_hash="nan", gamma=0.2, value=math.nan)
    assert studies.values("s") == {"ce": (None, 0.5), "none": (0.1, None), "nan": (0.2, None)}


@pytest.mark.parametrize(("gamma", "value"), [(1.0, 0.5), (-0.1, 0.5), (math.nan, 0.5), (0.5, 1.01), (0.5, -1.0)])
def test_out_of_range(studies: Studies, gamma: float, value: float) -> None:
    with pytest.raises(InvalidScoreError, match="trial h: "):
        studies.record("s", trial_hash="h", gamma=gamma, value=value)
    assert studies.values("s") == {}


def test_a_sampler_sees_the_recorded_trials(studies: Studies) -> None:
    for index in range(12):
        studies.record("s", trial_hash=str(index), gamma=index / 20, value=1 - abs(0.3 - index / 20))
    study = studies.study("s", optuna.samplers.TPESampler(seed=1))
    gammas = [study.ask({"gamma": studies.gamma_distribution}).params["gamma"] for _ in range(5)]
    assert all(0 <= gamma <= 0.99 for gamma in gammas)
    assert len(studies.values("s")) == 12, "trials that were only asked for have no hash"


def test_other_versions_of_optuna_are_told(studies: Studies, database: Database) -> None:
    studies.values("s")
    database.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = 'v0'")))
    with pytest.raises(SchemaMismatchError, match="optuna storage upgrade"):
        Studies(database).values("s")


def test_a_held_lock_is_not_waited_for_forever(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path / 'sweeper.db'}") as database:
        studies = Studies(database)
        database.retry_for = 0.2
        lock = FileLock(f"{database.path}.optuna-lock")
        with lock, pytest.raises(DatabaseUnavailableError, match="another process has held it"):
            studies.record("s", trial_hash="h", gamma=0.5, value=0.5)
        assert studies.record("s", trial_hash="h", gamma=0.5, value=0.5)
        studies.close()


@pytest.mark.slow
def test_several_callers_at_once(url: str) -> None:
    run_together(*[(record, url, 8)] * 3)
    with open_database(url) as database, Studies(database) as studies:
        recorded = studies.study("s").trials
    assert sorted(int(trial.user_attrs["hash"]) for trial in recorded) == list(range(8))
    assert sorted(trial.number for trial in recorded) == list(range(8))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_while_recording(url: str, moment: str) -> None:
    child = start(die_while_recording, url, moment)
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    with open_database(url) as database, Studies(database) as studies:
        assert studies.record("s", trial_hash="a", gamma=0.5, value=0.75, user_attrs={"test_dsc": 0.5}) is (
            moment == "before"
        )
        (trial,) = studies.study("s").trials
        assert (trial.params, trial.value) == ({"gamma": 0.5}, 0.75)
        assert trial.user_attrs == {"hash": "a", "test_dsc": 0.5}


def test_threads_of_one_process(studies: Studies) -> None:
    threads = [
        threading.Thread(
            target=studies.record, args=("s",), kwargs={"trial_hash": str(n % 3), "gamma": 0.1, "value": 0.5}
        )
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(studies.study("s").trials) == 3


def test_finished_trials_of_a_sweep_are_recorded_once_and_others_not(repository: Repository, studies: Studies) -> None:
    made = new_trials(5, study="study/nuclei/focal")
    made[3] = dataclasses.replace(made[3], study=None)
    repository.create_sweep("study", grid={}, trials=made)
    lease = repository.acquire_lease("study", "h", 100)
    for trial, val_dsc in ((made[0], 0.75), (made[1], 0.5), (made[3], 0.75), (made[4], None)):
        attempt = repository.claim(lease, trial.hash)
        assert attempt is not None
        scores = (scored("validation", "a", "kidney", val_dsc), scored("test", "b", "kidney", 0.7))
        repository.finish(lease, attempt.id, dataclasses.replace(outcome(), scores=scores), "run-1")
    assert studies.record_finished(repository.trials("study")) == 3
    assert studies.record_finished(repository.trials("study")) == 0
    expected = {made[0].hash: (0.0, 0.75), made[1].hash: (0.1, 0.5), made[4].hash: (0.4, None)}
    assert studies.values("study/nuclei/focal") == expected
    first = studies.study("study/nuclei/focal").trials[0]
    assert first.user_attrs == {
        "hash": made[0].hash, "test_dsc": 0.7, "mlflow_run": "run-1", "label": made[0].label,
    }  # fmt: skip


def test_the_gamma_of_another_loss_has_another_range(repository: Repository, studies: Studies) -> None:
    made = [
        dataclasses.replace(t, gamma=gamma) for t, gamma in zip(new_trials(3, study="s"), (0.5, 2.0, 12.0), strict=True)
    ]
    repository.create_sweep("study", grid={}, trials=made)
    lease = repository.acquire_lease("study", "h", 100)
    for trial in made:
        attempt = repository.claim(lease, trial.hash)
        assert attempt is not None
        repository.finish(lease, attempt.id, outcome())
    assert studies.record_finished(repository.trials("study")) == 3
    assert [gamma for gamma, _ in studies.values("s").values()] == [0.5, 2.0, 12.0]


@pytest.mark.slow
def test_optuna_writes_nothing_into_the_display(studies: Studies, capfd: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    studies.record("s", trial_hash="a", gamma=0.5, value=0.5)
    assert capfd.readouterr() == ("", "")


def test_optuna_dashboard_gives_the_slice_of_gamma(studies: Studies) -> None:
    """What its page draws: γ and value of each trial, from the URL that a person gives to it."""
    from optuna_dashboard import wsgi

    for index in range(3):
        studies.record("nuclei/asym", trial_hash=str(index), gamma=index / 10, value=0.5 + index / 10)
    storage = RDBStorage(studies.optuna_url)
    try:
        page = Browser(wsgi(storage))
        (summary,) = page.get("/api/studies")["study_summaries"]
        assert (summary["study_name"], summary["directions"]) == ("nuclei/asym", ["maximize"])
        detail = page.get(f"/api/studies/{summary['study_id']}?after=0")
    finally:
        storage.remove_session()
        storage.engine.dispose()
    assert [p["name"] for p in detail["union_search_space"]] == ["gamma"]
    points = {(t["params"][0]["param_external_value"], t["values"][0]) for t in detail["trials"]}
    assert points == {("0.0", 0.5), ("0.1", 0.6), ("0.2", 0.7)}


class Browser:
    """Asks a WSGI application as a browser would."""

    def __init__(self, application: Any) -> None:
        self.application = application

    def get(self, path: str) -> Any:
        place, _, query = path.partition("?")
        environment: dict[str, Any] = {"PATH_INFO": place, "QUERY_STRING": query}
        setup_testing_defaults(environment)
        status: list[str] = []
        body = b"".join(self.application(environment, lambda line, headers, *_: status.append(line)))
        assert status[0].startswith("200"), body
        return json.loads(body)
