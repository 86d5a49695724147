"""What the report says of infinite distances, under the table whose means they concern."""

import math

import pytest
from study_maker import Study, make_trial

from dashboards.report.sections.results import missed_text
from sweeper.analysis import analyse, score_frame, trial_frame


def answers(diagonal):
    study = Study()
    study.add(make_trial("kits19", "ce"), [0.5, 0.6, 0.7])
    study.add(make_trial("kits19", "dice"), [0.6, 0.7, 0.8])
    study.columns["hd95"] = [math.inf, math.inf, 1.0, 1.0, 2.0, 3.0]
    study.columns["diagonal"] = [diagonal] * 6
    return analyse(trial_frame(study.trials), score_frame(study.columns))


@pytest.mark.parametrize(
    ("diagonal", "words"),
    [
        (90.0, "the worst rank in tests, and as the image's diagonal in means. Images: ce 2."),
        (
            None,
            "rank in tests, and in no mean where the image's diagonal is not stored with the scores (−). ",
        ),
    ],
)
def test_a_table_says_what_a_missed_structure_counts_as(diagonal, words):
    found = answers(diagonal)
    assert missed_text(found, "kits19", "thing").startswith("HD95: infinite where a structure was missed")
    assert words in missed_text(found, "kits19", "thing")
    means = found.table[found.table["metric"] == "hd95"].set_index("variant")["mean"]
    assert means["ce"] == pytest.approx(1 if diagonal is None else (90 + 90 + 1) / 3)


def test_nothing_is_said_where_nothing_was_missed():
    study = Study()
    study.add(make_trial("kits19", "ce"), [0.5, 0.6, 0.7])
    assert missed_text(analyse(trial_frame(study.trials), score_frame(study.columns)), "kits19", "thing") == ""
