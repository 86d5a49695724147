"""Each kind of claim of the paper on scores for which it holds, fails, or cannot be tested."""

import numpy as np
import pytest
from study_maker import Study, make_trial, paper_like

from sweeper.analysis import analyse, score_frame, trial_frame
from sweeper.analysis.paper import LOSSES, paper_tables

JITTER = np.linspace(-0.05, 0.05, 30)


def answers_of(study, **options):
    return analyse(trial_frame(study.trials), score_frame(study.columns), **options)


def study_of(means, dataset="cvc_clinicdb", label="polyp", provenance="real", runs=3, further=False):
    study = Study(further=further)
    for loss, mean in means.items():
        for repeat in range(runs):
            trial = make_trial(dataset, loss, repeat=repeat, provenance=provenance, classes=("background", label))
            study.add(trial, (mean + JITTER).tolist(), label=label)
    return study


def claims_of(study, **options):
    return answers_of(study, **options).claims


def verdict(claims, claim, dataset="cvc_clinicdb", label=None):
    rows = claims[(claims["dataset"] == dataset) & claims["claim"].str.contains(claim, regex=False)]
    if label is not None:
        rows = rows[rows["label"] == label]
    assert len(rows) == 1, f"{len(rows)} claims match {claim!r}"
    return rows.iloc[0]["verdict"], rows.iloc[0]["numbers"]


def paper_means(dataset, label):
    table = paper_tables()
    own = table[(table["dataset"] == dataset) & (table["label"] == label) & (table["metric"] == "dsc")]
    return dict(zip(own["loss"], own["mean"], strict=True))


def test_with_nothing_run_every_claim_is_untested():
    claims = answers_of(Study(further=False)).claims
    assert set(claims["verdict"]) == {"not tested"}
    assert claims["in_paper"].all()
    assert set(claims["dataset"]) == {"cvc_clinicdb", "drive", "bus2017", "brats20", "kits19"}


@pytest.mark.parametrize(
    ("asym", "margin", "expected"),
    [(0.85, 0.01, "holds"), (0.8, 0.01, "holds"), (0.79, 0.01, "does not hold"), (0.5, 0.01, "does not hold")],
)
def test_at_least_as_good_as_every_other_loss(asym, margin, expected):
    study = study_of({"unified_focal_asym": asym, "ce": 0.80, "dice": 0.7})
    assert verdict(claims_of(study, margin=margin), "at least as good")[0] == expected


def noisy(means, deviation=0.1, runs=3, dataset="cvc_clinicdb", label="polyp"):
    """As `study_of`, with an independent effect of each loss on each image."""
    study, draw = Study(further=False), np.random.default_rng(4)
    for loss, mean in means.items():
        own = draw.normal(0, deviation, 30)
        for repeat in range(runs):
            trial = make_trial(dataset, loss, repeat=repeat, classes=("background", label))
            study.add(trial, (mean + (own - own.mean()) + draw.normal(0, 0.01, 30)).clip(0, 1).tolist(), label=label)
    return study


def test_what_the_scores_cannot_tell_is_not_shown():
    means = {"unified_focal_asym": 0.60, "unified_focal_sym": 0.61, "ce": 0.59, "focal": 0.58}
    claims = claims_of(noisy(means))
    for claim in ("at least as good", "highest mean DSC", "two unified variants", "worse than cross entropy"):
        assert verdict(claims, claim)[0] == "not shown", claim


def test_a_wide_margin_makes_small_differences_equal():
    claims = claims_of(noisy({"unified_focal_asym": 0.60, "unified_focal_sym": 0.61, "ce": 0.59}), margin=0.2)
    assert verdict(claims, "two unified variants")[0] == "holds"
    assert verdict(claims, "at least as good")[0] == "holds"


def test_one_run_tests_no_claim_about_losses_and_shows_the_paper_s_test():
    claims = claims_of(study_of({"unified_focal_asym": 0.9, "ce": 0.8, "focal": 0.5}, runs=1))
    own = claims[claims["dataset"] == "cvc_clinicdb"]
    compared = own[~own["claim"].str.contains("rank as in the paper|Training time")]
    assert set(compared["verdict"]) == {"not tested"}
    _, numbers = verdict(claims, "worse than cross entropy")
    assert numbers == "ce − focal: +0.300 in these trained networks; the paper's test, images only: p < 0.001"


@pytest.mark.slow
def test_either_variant_may_be_the_highest():
    means = {"unified_focal_asym": 0.6, "unified_focal_sym": 0.9, "ce": 0.8}
    claims = claims_of(study_of(means, further=True))
    assert verdict(claims, "A unified focal loss has the highest mean DSC")[0] == "holds"
    assert verdict(claims, "A unified focal loss has the highest mean IoU")[0] == "holds"
    means["ce"] = 0.95
    assert verdict(claims_of(study_of(means)), "A unified focal loss has the highest mean DSC")[0] == "does not hold"


@pytest.mark.slow
def test_ranking_needs_five_losses():
    means = paper_means("cvc_clinicdb", "polyp")
    assert verdict(claims_of(study_of(means)), "rank as in the paper")[0] == "holds"
    upside_down = study_of({k: 1 - v for k, v in means.items()})
    assert verdict(claims_of(upside_down), "rank as in the paper")[0] == "does not hold"
    unlike = dict(zip(means, sorted(means.values(), key=lambda v: str(v)[::-1]), strict=True))
    assert verdict(claims_of(study_of(unlike)), "rank as in the paper")[0] == "not shown"
    four = {k: means[k] for k in LOSSES[:4]}
    assert verdict(claims_of(study_of(four)), "rank as in the paper")[0] == "not tested"


@pytest.mark.parametrize(("focal", "expected"), [(0.5, "holds"), (0.8, "does not hold"), (0.9, "does not hold")])
def test_focal_worse_than_cross_entropy(focal, expected):
    found, numbers = verdict(claims_of(study_of({"ce": 0.8, "focal": focal})), "worse than cross entropy")
    assert found == expected
    assert "30 images, 3 runs" in numbers


def test_no_difference_between_the_variants():
    same = {"unified_focal_asym": 0.8, "unified_focal_sym": 0.8}
    assert verdict(claims_of(study_of(same)), "two unified variants")[0] == "holds"
    apart = {"unified_focal_asym": 0.9, "unified_focal_sym": 0.6}
    assert verdict(claims_of(study_of(apart)), "two unified variants")[0] == "does not hold"


@pytest.mark.slow
def test_one_missing_pair_leaves_a_claim_untested_unless_another_fails():
    two = {"dice": 0.8, "tversky": 0.8}
    found, numbers = verdict(claims_of(study_of(two)), "Dice-based losses")
    assert found == "not tested"
    assert "focal_tversky" in numbers
    assert verdict(claims_of(study_of({"dice": 0.9, "tversky": 0.6})), "Dice-based losses")[0] == "does not hold"


def test_kidney_tumour_claims():
    means = {"unified_focal_asym": 0.8, "ce": 0.3, "focal": 0.35, "dice": 0.5, "tversky": 0.42}
    claims = claims_of(study_of(means, "kits19", "tumour"))
    assert verdict(claims, "better than CE, focal, Dice, Tversky", "kits19")[0] == "holds"
    assert verdict(claims, "Dice is significantly better than cross entropy", "kits19")[0] == "holds"
    assert verdict(claims, "better than CE, focal, Tversky, focal Tversky", "kits19")[0] == "not tested"


@pytest.mark.slow
def test_brain_tumour_claims():
    means = dict.fromkeys(LOSSES, 0.75) | {"dice": 0.5, "tversky": 0.45, "unified_focal_asym": 0.9}
    claims = claims_of(study_of(means, "brats20", "enhancing_tumour"))
    assert verdict(claims, "all six baselines", "brats20")[0] == "holds"
    assert verdict(claims, "Dice and Tversky are significantly worse", "brats20")[0] == "holds"
    means["dice"] = 0.9
    claims = claims_of(study_of(means, "brats20", "enhancing_tumour"))
    assert verdict(claims, "all six baselines", "brats20")[0] == "does not hold"


def gamma_study(values, baseline=0.7):
    study = study_of({"combo": baseline})
    for gamma, mean in values.items():
        for repeat in range(3):
            trial = make_trial("cvc_clinicdb", "unified_focal_asym", gamma=gamma, repeat=repeat)
            study.add(trial, (mean + JITTER).tolist(), label="polyp")
    return study


def test_gamma_claims_that_hold():
    claims = claims_of(gamma_study({0.1: 0.798, 0.5: 0.8, 0.9: 0.795}))
    for claim in ("whole range of γ", "γ = 0.5 beats", "worst γ is a high one", "γ is easy to set"):
        assert verdict(claims, claim)[0] == "holds", claim


def test_gamma_claims_that_do_not_hold():
    claims = claims_of(gamma_study({0.1: 0.6, 0.5: 0.65, 0.7: 0.9}, baseline=0.7))
    for claim in ("whole range of γ", "γ = 0.5 beats", "worst γ is a high one", "γ is easy to set"):
        assert verdict(claims, claim)[0] == "does not hold", claim


@pytest.mark.slow
def test_synthetic_images_and_rehearsals_test_nothing_and_show_their_numbers():
    means = {"unified_focal_asym": 0.85, "ce": 0.8}
    found, numbers = verdict(claims_of(study_of(means, provenance="synthetic")), "at least as good")
    assert found == "not tested"
    assert numbers.startswith("synthetic images; here: unified_focal_asym 0.850")
    found, numbers = verdict(claims_of(study_of(means), rehearsal=True), "at least as good")
    assert (found, numbers.partition(";")[0]) == ("not tested", "a rehearsal")


@pytest.mark.slow
def test_general_claims_are_asked_of_other_data_sets_and_marked():
    claims = answers_of(paper_like(("nuclei",), baselines=("ce", "dice"), gammas=(0.1, 0.5), repeats=3)).claims
    own = claims[claims["dataset"] == "nuclei"]
    assert not own["in_paper"].any()
    assert not own["claim"].str.contains("rank as in the paper").any()
    assert (own["verdict"] != "not tested").any()
