"""What the report says of a difference: stars and tables about new trainings, and none where a loss has one run."""

from __future__ import annotations

from functools import cache

import pytest
from study_maker import Study, make_trial, paper_like

from dashboards.report.latex import comparison_tables
from dashboards.report.sections.results import score_tables
from dashboards.report.sections.significance import comparisons_table
from sweeper.analysis import Answers, analyse, score_frame, trial_frame


def answers_of(study: Study) -> Answers:
    return analyse(trial_frame(study.trials), score_frame(study.columns))


@cache
def apart(runs: int) -> Answers:
    """Dice is far better than CE; focal is as good as Dice."""
    study = Study()
    for repeat in range(runs):
        for loss, mean in (("ce", 0.5), ("dice", 0.8), ("focal", 0.8)):
            dsc = [mean + 0.01 * ((image * (1 + len(loss)) + repeat) % 7) for image in range(20)]
            study.add(make_trial("nuclei", loss, repeat=repeat), dsc)
    return answers_of(study)


def stars(answers: Answers) -> dict[str, str]:
    (table,) = score_tables(answers).values()
    return {row[0]: row[3][0].mark for row in table.rows}


def test_a_star_marks_what_is_worse_in_new_trainings() -> None:
    assert stars(apart(3)) == {"ce": "*", "focal": "", "dice": ""}


def test_one_run_has_no_star_however_far_apart() -> None:
    assert set(stars(apart(1)).values()) == {""}
    assert set(stars(answers_of(paper_like(gammas=(0.5,), baselines=("ce",)))).values()) == {""}


@pytest.mark.parametrize(("runs", "about"), [(1, "these networks"), (3, "new trainings")])
def test_each_pair_says_what_it_is_about(runs: int, about: str) -> None:
    table = comparisons_table(apart(runs), "nuclei", "thing")
    assert len(table.rows) == 3
    assert {row[2] for row in table.rows} == {about}
    assert all((row[4] == "–") == (runs == 1) for row in table.rows)


@pytest.mark.slow
def test_latex_has_the_comparisons() -> None:
    (text,) = comparison_tables(apart(3)).values()
    assert "about new images and new trainings" in text
    assert r"ce & dice & $-0.30" in text
    (text,) = comparison_tables(apart(1)).values()
    assert "about these trained networks" in text
