"""The three sentences say what the numbers say, in careful words."""

import numpy as np
from study_maker import Study, make_trial, paper_like

from sweeper.analysis import analyse, score_frame, trial_frame
from sweeper.analysis.conclusions import NOTHING_FINISHED
from trials.states import TrialState

JITTER = np.linspace(-0.05, 0.05, 20)


def sentences(study, **options):
    return analyse(trial_frame(study.trials), score_frame(study.columns), **options).sentences


def of_the_paper():
    return paper_like(("cvc_clinicdb",), labels=("polyp",), baselines=("ce", "dice"), gammas=(0.1, 0.5))


def test_nothing_finished():
    study = Study(trials=[make_trial("a", "ce", state=TrialState.QUEUED)])
    assert sentences(study) == (NOTHING_FINISHED,)
    assert sentences(Study()) == (NOTHING_FINISHED,)


def test_one_loss_alone():
    study = Study()
    study.add(make_trial("a", "ce"), [0.5])
    first, second, _ = sentences(study)
    assert first == (
        "On a (thing), ce had the highest mean test DSC, 0.500 over 1 image, but no other loss could be tested "
        "against it."
    )
    assert "was not tested" in second


def test_a_clear_winner():
    study = Study()
    for loss, mean in (("ce", 0.6), ("dice", 0.8), ("focal", 0.5)):
        study.add(make_trial("a", loss), (mean + JITTER).tolist())
    assert "dice had the highest mean test DSC" in sentences(study)[0]
    assert "significantly better than all 2 others" in sentences(study)[0]


def test_no_difference_is_not_called_equal():
    study = Study()
    rng = np.random.default_rng(1)
    for loss in ("ce", "dice"):
        study.add(make_trial("a", loss), (0.7 + rng.normal(0, 0.05, 20)).tolist())
    assert "but was not significantly better than the other loss" in sentences(study)[0]


def test_many_data_sets_are_counted():
    first = sentences(paper_like(("a", "b", "c"), baselines=("ce",), gammas=(0.4, 0.5), seed=2))[0]
    winner = "unified_focal_asym on a (thing), b (thing) and c (thing)"
    assert first.startswith(f"The highest mean test DSC went to {winner}")
    assert "of these 3" in first


def test_gamma_s_sentence_compares_with_one_half():
    alone = {"baselines": ("ce",)}
    second = sentences(paper_like(gammas=(0.1, 0.5), **alone))[1]
    assert "the best γ differed significantly from the recommended 0.5 for none of the 2 losses." in second
    assert "of the 4 pairs of loss and data set." in sentences(paper_like(("a", "b"), gammas=(0.1, 0.5), **alone))[1]
    assert "did not run" in sentences(paper_like(gammas=(0.1, 0.2), **alone))[1]


def test_the_paper_s_claims_are_counted():
    assert "hold in these runs" in sentences(of_the_paper())[2]
    assert "None of the paper's" in sentences(paper_like(baselines=("ce",), gammas=(0.5,)))[2]


def test_a_rehearsal_claims_nothing_about_the_paper():
    study = of_the_paper()
    assert "None of the paper's" in sentences(study, rehearsal=True)[2]
