"""What the database keeps of the answers, and what others read there."""

from __future__ import annotations

import pytest
from study_maker import Study, make_trial

from storage.records import SignificanceTest
from sweeper.analysis import Answers, analyse, score_frame, trial_frame
from sweeper.analysis.stored_tests import records

LOSS = "unified_focal_asym"


def answers_of(runs: int) -> Answers:
    study = Study()
    for repeat in range(runs):
        study.add(make_trial("a", "ce", repeat=repeat), [0.5, 0.6, 0.7])
        for gamma, mean in ((0.5, 0.2), (0.9, 0.1)):
            study.add(make_trial("a", LOSS, gamma=gamma, repeat=repeat), [0.5 + mean, 0.6 + mean, 0.75 + mean])
    return analyse(trial_frame(study.trials), score_frame(study.columns), margin=0.05)


def kept(runs: int, name: str) -> SignificanceTest:
    found = [t for t in records(answers_of(runs)) if t.test == name and t.metric == "dsc"]
    return found[-1]


def test_a_comparison_is_kept_with_its_interval() -> None:
    answers = answers_of(3)
    row = answers.comparisons.iloc[0]
    one = kept(3, "new_trainings")
    assert (one.dataset, one.label, one.first, one.second, one.n) == ("a", "thing", "ce", LOSS, 3)
    assert (one.median_difference, one.p, one.low, one.high) == pytest.approx(
        (row["difference"], row["p"], row["low"], row["high"])
    )
    assert one.effect is None
    assert one.scores_hash == answers.scores_hash


def test_one_run_has_a_difference_and_no_p() -> None:
    one = kept(1, "new_trainings")
    assert one.median_difference == pytest.approx(-0.2167, abs=1e-4)
    assert (one.p, one.p_holm, one.low) == (None, None, None)
    assert type(one.n) is int


@pytest.mark.slow
def test_equivalence_is_kept_with_its_margin() -> None:
    one = kept(3, "equivalence_0.05")
    assert (one.label, one.first, one.second) == ("foreground", f"{LOSS} γ = 0.9", f"{LOSS} γ = 0.5")
    row = answers_of(3).gamma_differences.set_index(["gamma", "other_gamma"]).loc[(0.9, 0.5)]
    assert one.median_difference == pytest.approx(-0.1)
    assert (one.low, one.high) == pytest.approx((row["low"], row["high"]))
