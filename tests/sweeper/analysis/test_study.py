"""A stored sweep as frames: through a real SQLite database, and what goes wrong in it."""

import dataclasses

import pytest
from pandas.testing import assert_frame_equal
from study_maker import Study, make_trial, paper_like, store

from storage.database import open_database
from storage.errors import DatabaseURLError, UnknownSweepError
from storage.repository import Repository
from sweeper.analysis import analyse, score_frame, trial_frame
from sweeper.analysis.chosen import best_losses
from sweeper.analysis.common_units import run_scores
from sweeper.analysis.denominators import counted
from sweeper.analysis.selection import select_gamma
from sweeper.study import keep_significance, open_study, read_best_losses, read_run_scores, read_study
from tests import live_sweeps
from tests.live_sweeps import Planned
from tests.results import result, scored
from trials.states import TrialState


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'sweeper.db'}"


@pytest.fixture
def repository(url):
    database = open_database(url)
    yield Repository(database)
    database.close()


def small():
    """A study with a validation score for each trial, from which storage takes its validation DSC."""
    study = paper_like(baselines=("ce", "dice"), gammas=(0.3, 0.5), images=6)
    for trial in study.trials:
        study.add_scores(trial, "thing", [trial.val_dsc], "validation")
    return study


@pytest.mark.slow
def test_what_is_stored_is_what_is_analysed(repository, url):
    made = small()
    store(made, repository)
    study = open_study("s", url)
    directly = analyse(trial_frame(made.trials), score_frame(made.columns))
    assert study.answers.scores_hash == directly.scores_hash
    assert study.answers.sentences == directly.sentences
    assert study.significance["p_holm"].tolist() == pytest.approx(directly.significance["p_holm"].tolist())
    assert len(study.stability) == 2
    assert set(study.table["metric"]) == {"dsc", "iou", "precision", "recall"}
    assert len(study.claims)
    assert_frame_equal(read_best_losses(repository, "s"), study.answers.best)


def test_a_sweep_without_results(repository, url):
    store(Study(trials=[make_trial("a", "ce", state=TrialState.QUEUED)]), repository)
    study = open_study("s", url)
    assert study.trials["state"].tolist() == ["queued"]
    assert study.scores.empty
    assert study.answers.sentences[0].startswith("No trial has finished")


def test_a_wrong_name_names_the_nearest(repository, url):
    store(small(), repository, "nuclei-demo")
    with pytest.raises(UnknownSweepError, match="nuclei-demo"):
        open_study("nuclei-dmo", url)


def test_a_database_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(DatabaseURLError):
        open_study("s", f"sqlite:///{tmp_path / 'other.db'}")
    assert not (tmp_path / "other.db").exists()


@pytest.mark.slow
def test_tests_are_stored_once_and_again_when_the_scores_change(repository):
    made = small()
    store(made, repository)
    study = read_study(repository, "s")
    assert keep_significance(repository, study)
    assert not keep_significance(repository, study)
    kept = repository.significance("s")
    answers = study.answers
    assert len(kept) == sum(map(len, (answers.significance, answers.comparisons, answers.stability)))
    assert {t.scores_hash for t in kept} == {study.answers.scores_hash}

    changed = study.scores.copy()
    changed.loc[0, "dsc"] = 0.123
    other = dataclasses.replace(study, scores=changed)
    assert keep_significance(repository, other)
    assert {t.scores_hash for t in repository.significance("s")} == {other.answers.scores_hash}


def test_tests_that_another_program_computed_are_replaced(repository):
    """The same scores, but other figures: kept by a version of this program that computed them otherwise."""
    store(small(), repository)
    study = read_study(repository, "s")
    keep_significance(repository, study)
    kept = repository.significance("s")
    repository.replace_significance("s", [dataclasses.replace(kept[0], p_holm=0.5), *kept[1:]])
    assert keep_significance(repository, study)
    assert repository.significance("s") == kept


@pytest.mark.slow
def test_a_read_only_database_gives_all_answers_and_keeps_no_tests(repository, url, tmp_path):
    store(small(), repository)
    read_only = f"sqlite:///file:{tmp_path / 'sweeper.db'}?mode=ro&uri=true"
    study = open_study("s", read_only)
    assert len(study.significance) == len(open_study("s", url).significance) > 0
    with open_database(read_only, create=False) as database:
        assert not keep_significance(Repository(database), study)
    assert repository.significance("s") == []
    assert keep_significance(repository, study)


@pytest.mark.parametrize("size", [5.0, 0.0, None], ids=["each class", "a class that no image shows", "older scores"])
def test_the_best_losses_alone_are_those_of_all_scores(repository, size):
    """A loss that marks nothing is perfect where a class is missing: that must not make it the best."""
    cells = [Planned(loss=loss, repeat=n) for loss in ("ce", "dice") for n in range(2)]
    lease = live_sweeps.store(repository, cells, "s")
    told = {} if size is None else {"size": size}
    seen = {} if size is None else {"size": 9.0}
    for cell in cells:
        scores = [
            scored("validation", f"{case}", label, dsc, **sizes)
            for case in range(3)
            for label, dsc, sizes in (
                ("nucleus", 0.6 if cell.loss == "ce" else 0.5, seen),
                ("tumour", 0.2 if cell.loss == "ce" else 1.0, told),
            )
        ]
        attempt = repository.claim(lease, cell.spec.hash)
        repository.finish(lease, attempt.id, result(cell.spec.hash, scores, [live_sweeps.epoch(1, 0.5)]))
    study, best = read_study(repository, "s"), read_best_losses(repository, "s")
    assert_frame_equal(best, best_losses(study.trials, study.scores))
    assert best["variant"].tolist() == ["ce" if size == 0 else "dice"]


@pytest.mark.parametrize("size", [5.0, 0.0, None], ids=["each class", "a class that no image shows", "older scores"])
def test_the_scores_at_the_chosen_gamma_are_read_alone_where_they_say_enough(repository, size, monkeypatch):
    """Of a large sweep over γ most scores are not needed for its power; what is read gives the same rows."""
    gammas = {"ce": [None], "unified_focal_asym": [0.1, 0.3, 0.5, 0.7]}
    cells = [Planned(loss=loss, gamma=g, repeat=n) for loss, own in gammas.items() for g in own for n in range(2)]
    lease = live_sweeps.store(repository, cells, "s")
    told = {} if size is None else {"size": size}
    for cell in cells:
        dsc = 0.5 if cell.gamma is None else 0.9 - cell.gamma / 2
        scores = [
            scored(part, f"{case}", "nucleus", dsc + case / 100, **told)
            for part in ("validation", "test")
            for case in range(3)
        ]
        attempt = repository.claim(lease, cell.spec.hash)
        repository.finish(lease, attempt.id, result(cell.spec.hash, scores, [live_sweeps.epoch(1, 0.5)]))
    study = read_study(repository, "s")
    whole = counted(study.trials, study.scores)
    expected = run_scores(whole.trials, whole.scores, select_gamma(whole.trials))
    asked = []
    read = Repository.score_columns
    monkeypatch.setattr(Repository, "score_columns", lambda *words: (asked.append(words[2:]), read(*words))[1])
    assert_frame_equal(read_run_scores(repository, "s"), expected)
    assert_frame_equal(read_run_scores(repository, "s", {"nuclei"}), expected)
    assert read_run_scores(repository, "s", {"another"}).empty
    del asked[2:]
    all_of_them = [trials for trials in asked if not trials]
    assert len(all_of_them) == (0 if size else 1)
    assert sum(len(trials) for (trials,) in filter(None, asked)) == (5 if size else 1)


def test_a_group_that_another_trial_knows_counts(repository):
    cells = [Planned(loss="unified_focal_asym", gamma=g, repeat=n) for g in (0.1, 0.5, 0.9) for n in range(2)]
    lease = live_sweeps.store(repository, cells, "s")
    for cell in cells:
        known = "" if cell.gamma == 0.1 else "patient"
        made = [scored(part, "a", "nucleus", 1 - cell.gamma, size=5.0) for part in ("validation", "test")]
        scores = [dataclasses.replace(score, group=known) for score in made]
        attempt = repository.claim(lease, cell.spec.hash)
        repository.finish(lease, attempt.id, result(cell.spec.hash, scores, [live_sweeps.epoch(1, 0.5)]))
    assert set(read_run_scores(repository, "s")["group"]) == {"patient"}
