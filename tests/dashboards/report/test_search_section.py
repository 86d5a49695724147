"""What the report says of a search: every point in its order, what was pruned when, and that it is no full grid."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from study_maker import MemoryRepository, Study, make_sweep, make_trial

from storage.records import Trial
from sweeper.grids.details import SweepDetails
from sweeper.search.details import SearchDetails
from sweeper.search.samplers import SearchSettings
from sweeper.search.space import Domain, family
from sweeper.study import counted
from tests.dashboards.reports import write_report
from tests.dashboards.unrendered import unrendered
from trials.results import Epoch
from trials.states import TrialState

LOSS = "unified_focal_asym"
SETTINGS = SearchSettings(sampler="tpe", pruner="asha", startup=3, trials=6)


def suggested(study: str, gamma: float, val_dsc: float | None, epochs: int, **parameters: float) -> Trial:
    state = TrialState.PRUNED if val_dsc is None else TrialState.FINISHED
    made = make_trial("nuclei", LOSS, gamma=gamma, state=state, val_dsc=val_dsc, parameters=parameters)
    return dataclasses.replace(made, study=study, epochs=epochs)


def search_of(trial: Trial, *domains: Domain) -> SearchDetails:
    names = tuple(domain.name for domain in domains)
    return SearchDetails(
        trial.dataset, trial.loss, SETTINGS, SETTINGS.hash, 6, domains, family(trial.spec, names), (0,)
    )


class Repository(MemoryRepository):
    """With the epochs of what was pruned."""

    def epochs(self, trial_hash: str) -> list[Epoch]:
        return [Epoch(number, 0.5, 0.4, 0.1 * number, 0.1, 5, 1.0) for number in (1, 2, 3)]


@pytest.mark.slow
def test_the_report_shows_what_was_tried_and_marks_the_curve(tmp_path: Path) -> None:
    study = Study()
    name = f"s/nuclei/{LOSS}"
    trials = [suggested(name, 0.5, 0.8, 12), suggested(name, 0.9, None, 3), suggested(name, 0.2, 0.85, 12)]
    for trial in trials:
        if trial.state is TrialState.FINISHED:
            study.add(trial, [0.6, 0.7, 0.8])
        else:
            study.trials.append(trial)
    plain = study.add(make_trial("nuclei", "ce"), [0.5, 0.6, 0.7])
    sweep = make_sweep(
        details=SweepDetails(searches={name: search_of(trials[0], Domain("gamma", 0.0, 0.99))}).to_dict()
    )
    with unrendered():
        page = write_report(Repository(study, sweep), "s", tmp_path).page
    assert page is not None
    text = page.read_text(encoding="utf-8")
    section = text[text.index('id="search"') : text.index('id="significance"')]
    rows = section[section.index("<tbody>") :].split("<tr>")[1:]
    assert ["0.5" in rows[0], "0.9" in rows[1], "0.2" in rows[2]] == [True] * 3
    assert "pruned after epoch 3" in rows[1]
    assert "0.300" in rows[1], "the last validation DSC that it reached"
    assert "finished (best)" in rows[2]
    assert "1 of 3 trials were pruned" in section
    assert f"Dotted is not a full grid: a search chose the γ of {LOSS}" in text
    assert "not swept over a full grid" in section
    assert plain.hash not in section


@pytest.mark.slow
def test_without_a_search_there_is_no_such_section(tmp_path: Path) -> None:
    study = Study()
    for gamma in (0.3, 0.5):
        study.add(make_trial("nuclei", LOSS, gamma=gamma), [0.5, 0.6, 0.7])
    with unrendered():
        page = write_report(Repository(study, make_sweep()), "s", tmp_path).page
    assert page is not None
    text = page.read_text(encoding="utf-8")
    assert 'id="search"' not in text
    assert "#search" not in text
    assert "not a full grid" not in text


def test_of_a_search_over_more_than_gamma_the_best_point_counts() -> None:
    name = f"s/nuclei/{LOSS}"
    trials = [
        suggested(name, 0.5, 0.8, 12, delta=0.6),
        suggested(name, 0.3, 0.9, 12, delta=0.7),
        suggested(name, 0.3, None, 3, delta=0.4),
        make_trial("nuclei", "ce"),
    ]
    search = search_of(trials[0], Domain("delta", 0.4, 0.8), Domain("gamma", 0.0, 0.99))
    assert counted(trials, {name: search}) == [trials[1], trials[3]]
    alone = search_of(trials[0], Domain("gamma", 0.0, 0.99))
    assert counted(trials, {name: alone}) == trials
    assert counted(trials[2:], {name: search}) == trials[2:], "nothing has finished yet"
