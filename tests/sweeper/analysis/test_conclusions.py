"""The three sentences say what the numbers say, in careful words."""

import numpy as np
import pytest
from study_maker import Study, make_trial, paper_like

from sweeper.analysis import analyse, score_frame, trial_frame
from sweeper.analysis.conclusions import NOTHING_FINISHED
from trials.states import TrialState

JITTER = np.linspace(-0.05, 0.05, 20)


def sentences(study, **options):
    return analyse(trial_frame(study.trials), score_frame(study.columns), **options).sentences


def of_the_paper():
    return paper_like(("cvc_clinicdb",), labels=("polyp",), baselines=("ce", "dice"), gammas=(0.1, 0.5), repeats=3)


def test_nothing_finished():
    study = Study(trials=[make_trial("a", "ce", state=TrialState.QUEUED)])
    assert sentences(study) == (NOTHING_FINISHED,)
    assert sentences(Study(further=False)) == (NOTHING_FINISHED,)


def test_one_loss_alone():
    study = Study(further=False)
    study.add(make_trial("a", "ce"), [0.5])
    first, second, _ = sentences(study)
    assert first == (
        "On a (thing), ce had the highest mean test DSC, 0.500 over 1 image, but no other loss has scores here."
    )
    assert "was not tested" in second


def test_a_clear_winner():
    study = Study(further=False)
    for loss, mean in (("ce", 0.6), ("dice", 0.8), ("focal", 0.5)):
        for repeat in range(3):
            study.add(make_trial("a", loss, repeat=repeat), (mean + JITTER).tolist())
    assert sentences(study)[0] == (
        "On a (thing), dice had the highest mean test DSC, 0.800 ± 0.015 over 20 images and 3 runs, better than all 2 "
        "others in new trainings (p < 0.05 after Holm); with new images and new trainings dice is best with "
        "probability > .99."
    )


def test_one_run_is_about_these_networks_however_clear_it_looks():
    study = Study(further=False)
    for loss, mean in (("ce", 0.6), ("dice", 0.8)):
        study.add(make_trial("a", loss), (mean + JITTER).tolist())
    assert sentences(study)[0] == (
        "On a (thing), of these trained networks that of dice had the highest mean test DSC, 0.800 ± 0.015 over 20 "
        "images; one run per loss says nothing about new trainings. Two more repeats of each loss would find a "
        "difference of 0.039 in 80% of such studies (by assumed variances)."
    )


@pytest.mark.slow
def test_no_sentence_about_one_run_calls_a_loss_better_anywhere():
    for study in (paper_like(), paper_like(("a", "b", "c"), gammas=(0.1, 0.5)), of_the_paper_once()):
        said = " ".join(sentences(study))
        assert "better" not in said
        assert "these trained networks" in said


def of_the_paper_once():
    return paper_like(("cvc_clinicdb",), labels=("polyp",), gammas=(0.1, 0.5))


def test_no_difference_is_not_called_equal():
    study = Study(further=False)
    rng = np.random.default_rng(1)
    for loss in ("ce", "dice"):
        for repeat in range(3):
            study.add(make_trial("a", loss, repeat=repeat), (0.7 + rng.normal(0, 0.05, 20)).tolist())
    first = sentences(study)[0]
    assert "but it was not shown to be better than the other loss in new trainings" in first
    assert "16 more repeats of each loss would find a difference of 0.01 in 80% of such studies" in first


@pytest.mark.slow
def test_many_data_sets_are_counted():
    first = sentences(paper_like(("a", "b", "c"), baselines=("ce",), gammas=(0.4, 0.5), seed=2, repeats=3))[0]
    winner = "unified_focal_asym on a (thing), b (thing) and c (thing)"
    assert first.startswith(f"The highest mean test DSC went to {winner}")
    assert "of these 3" in first


@pytest.mark.slow
def test_gamma_s_sentence_compares_every_gamma_with_one_half():
    alone = {"baselines": ("ce",), "repeats": 3}
    assert "that every γ is within 0.01 of 0.5 holds for 2 of 2 losses." in second(gammas=(0.4, 0.5), **alone)
    assert "was not shown for 2 of 2 losses" in second(gammas=(0.4, 0.5), **alone, images=4)
    assert "does not hold for 2 of 2 losses" in second(gammas=(0.4, 0.5, 0.9), **alone)
    assert "of 4 pairs of loss and data set." in second(("a", "b"), gammas=(0.1, 0.5), **alone)
    assert "did not run" in second(gammas=(0.1, 0.2), **alone)
    assert "one run for each γ says nothing about new trainings" in second(gammas=(0.1, 0.5), baselines=("ce",))


def second(*places, **settings):
    return sentences(paper_like(*places, **settings))[1]


@pytest.mark.slow
def test_the_paper_s_claims_are_counted():
    assert "in new trainings" in sentences(of_the_paper())[2]
    assert "None of the paper's" in sentences(paper_like(baselines=("ce",), gammas=(0.5,)))[2]


@pytest.mark.slow
def test_a_rehearsal_claims_nothing_about_the_paper():
    study = of_the_paper()
    assert "None of the paper's" in sentences(study, rehearsal=True)[2]


def test_runs_of_a_single_image_are_not_called_single_runs():
    study = Study(further=False)
    for loss, mean in (("ce", 0.6), ("dice", 0.8)):
        for repeat in range(3):
            study.add(make_trial("a", loss, repeat=repeat), [mean + 0.01 * repeat])
    assert "; a single image or patient that all have says nothing about new ones" in sentences(study)[0]
