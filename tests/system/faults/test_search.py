"""A search whose coordinator is killed at the worst moments.

Afterwards each trial stands once in the Optuna study, none is for ever running, and what was given up says so in the
database, in Optuna and in MLflow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import optuna
import pytest

from storage.database import open_database
from storage.studies import Studies
from tests.system.faults.scenarios import GAMMAS, GRID, SWEEP, Sweep, one_by_one
from trials.states import AttemptState, TrialState
from workers.tracking.client import connect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

POINTS = 4
SEARCH = (
    one_by_one(GRID)
    .replace('[[losses]]\nname = "ce"\n\n', "")
    .replace(f"gamma = {GAMMAS}", "gamma = { low = 0.5, high = 0.99 }")
    + f"""
[search]
sampler = "tpe"
trials = {POINTS}
pruner = "median"
pruner_settings = {{ n_startup_trials = 1 }}
"""
)
"""One trial at a time; the first, at γ = 0.5, leads, so that others are given up."""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    made = Sweep(tmp_path_factory.mktemp("search") / "sweep", grid=SEARCH)
    yield made
    made.end()


def test_killed_at_the_worst_moments_a_search_ends_whole(sweep: Sweep) -> None:
    for moment in ("suggested", "decided", "record"):
        run = sweep.go()
        assert sweep.hold(moment, run) == run.pid
        run.kill()
        sweep.alone()
    sweep.go().ends()
    assert sweep.state() == "finished"
    with sweep.repository() as repository:
        trials = repository.trials(SWEEP)
        attempts = {t.hash: repository.attempts(t.hash) for t in trials}
        epochs = {t.hash: [e.epoch for e in repository.epochs(t.hash)] for t in trials}
    assert len(trials) == len({t.gamma for t in trials}) == POINTS
    states = Counter(t.state for t in trials)
    assert set(states) == {TrialState.FINISHED, TrialState.PRUNED}
    for trial in trials:
        assert attempts[trial.hash][-1].state.value == trial.state.value
        assert not [a for a in attempts[trial.hash] if a.state is AttemptState.RUNNING]
        assert epochs[trial.hash] == list(range(1, trial.epochs + 1)), "no epoch is missing, none is there twice"

    study = trials[0].study
    assert study is not None
    url = f"sqlite:///{sweep.home.folder / 'sweeper.db'}"
    with open_database(url, create=False) as database, Studies(database) as studies:
        recorded = optuna.load_study(study_name=study, storage=studies.optuna_url).trials
    stored = {t.hash: t for t in trials}
    assert sorted(t.user_attrs["hash"] for t in recorded) == sorted(stored)
    wanted = {TrialState.FINISHED: "COMPLETE", TrialState.PRUNED: "PRUNED"}
    for one in recorded:
        trial = stored[one.user_attrs["hash"]]
        assert one.state.name == wanted[trial.state]
        assert one.params == {"gamma": trial.gamma}
        assert sorted(one.intermediate_values) == epochs[trial.hash]

    client = connect(f"sqlite:///{sweep.home.folder / 'mlflow.db'}")
    for trial in trials:
        assert trial.mlflow_run is not None
        found = client.get_run(trial.mlflow_run)
        assert found.data.tags["state"] == trial.state.value
        assert found.info.status == ("FINISHED" if trial.state is TrialState.FINISHED else "KILLED")


def test_the_sweep_is_done_and_its_report_tells_of_the_search(sweep: Sweep) -> None:
    assert "nothing to train" in sweep.home.run("resume", SWEEP)
    status = sweep.home.run("status", SWEEP)
    assert f"{POINTS} of {POINTS} points tried (tpe, pruner median)" in status
    page = sweep.page()
    assert "What the search tried" in page
    assert "pruned after epoch" in page
    assert "not swept over a full grid" in page
