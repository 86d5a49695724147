"""What decides an answer, on small studies in which another rule would give another answer."""

import numpy as np
import pytest
from study_maker import Study, make_trial

from sweeper.analysis import analyse, score_frame, trial_frame
from trials.spec import RESULTS_VERSION

LOSS = "unified_focal_asym"
SHIFTS = np.array([-0.001, -0.002, *np.arange(4, 11) / 1000, -0.0035])
"""Differences of ten images, seven of them upwards: signed-rank p = 0.037 (W⁻ = 6 of 55)."""
BASE = np.linspace(0.55, 0.65, 10)


def answers_of(study):
    return analyse(trial_frame(study.trials), score_frame(study.columns))


def of_gammas(scores, baseline=BASE, val_dsc=0.6):
    """A study of one unified loss, `scores` by γ, and of Dice; three runs give the same scores."""
    study = Study(further=False)
    for repeat in range(3):
        study.add(make_trial("a", "dice", repeat=repeat, val_dsc=val_dsc), baseline.tolist())
        for gamma, dsc in scores.items():
            study.add(make_trial("a", LOSS, gamma=gamma, repeat=repeat), dsc.tolist())
    return answers_of(study)


def test_the_baseline_of_gamma_is_the_one_with_the_best_validation_and_not_test():
    study = Study(further=False)
    study.add(make_trial("a", "ce", val_dsc=0.4, test_dsc=0.8), (BASE + 0.2).tolist())
    study.add(make_trial("a", "dice", val_dsc=0.9, test_dsc=0.5), (BASE - 0.1).tolist())
    for gamma in (0.1, 0.5):
        study.add(make_trial("a", LOSS, gamma=gamma), BASE.tolist())
    row = answers_of(study).stability.iloc[0]
    assert row["baseline"] == "dice"
    assert row["baseline_dsc"] == pytest.approx(0.5)
    assert row["share_above_baseline"] == 1


def test_the_more_gammas_are_tried_the_more_each_must_show_against_the_baseline():
    """Each is better by the same scores: what convinces of one of a single pair is no evidence among nine."""
    single = of_gammas({0.1: BASE + SHIFTS, 0.5: BASE}).stability.iloc[0]
    assert single["share_significantly_above"] == 0.5  # 0.1 alone is above
    many = of_gammas({g / 10: BASE + SHIFTS for g in range(1, 10)}).stability.iloc[0]
    assert many["share_above_baseline"] == 1
    assert many["share_significantly_above"] == 0


def one_failure(better, worse):
    """Scores that lie above `worse` on every image but one, on which they fail: a lower mean, and higher ranks."""
    scores = worse + better
    scores[-1] = 0.02
    return scores


IMAGES = np.linspace(0.6, 0.8, 20)
SMALL = np.linspace(0.01, 0.03, 20)


def test_a_loss_that_is_worse_on_nearly_every_image_is_not_called_better():
    study = Study(further=False)
    for repeat in range(3):
        study.add(make_trial("a", "ce", repeat=repeat), IMAGES.tolist())
        study.add(make_trial("a", "dice", repeat=repeat), one_failure(SMALL, IMAGES).tolist())
    answer = answers_of(study)
    assert answer.table.set_index(["variant", "metric"])["mean"].unstack()["dsc"].idxmax() == "ce"
    assert "it was not shown to be better than the other loss" in answer.sentences[0]


def test_a_loss_that_is_worse_counts_as_no_loss_that_was_beaten():
    """Dice has the highest mean, and is better than CE; that focal is better than CE too is not Dice's."""
    study = Study(further=False)
    far = np.tile([0.3, -0.3], 5)
    for repeat in range(3):
        study.add(make_trial("a", "ce", repeat=repeat), (BASE - 0.2).tolist())
        study.add(make_trial("a", "dice", repeat=repeat), BASE.tolist())
        study.add(make_trial("a", "focal", repeat=repeat), (BASE - 0.01 + far).tolist())
    assert "better than 1 of the 2 other losses in new trainings" in answers_of(study).sentences[0]


def test_to_beat_every_other_loss_is_to_beat_the_best_of_them():
    study = Study(further=False)
    for repeat in range(3):
        for loss, mean in (("ce", 0.5), ("dice", 0.8), ("focal", 0.6)):
            study.add(make_trial("drive", loss, repeat=repeat), (BASE - 0.6 + mean).tolist())
        for gamma in (0.1, 0.5):
            study.add(make_trial("drive", LOSS, gamma=gamma, repeat=repeat), (BASE + 0.1).tolist())
    claims = answers_of(study).claims
    for claim in ("over the whole range of γ", "γ = 0.5 beats every other loss"):
        row = claims[(claims["dataset"] == "drive") & claims["claim"].str.contains(claim, regex=False)].iloc[0]
        assert row["verdict"] == "does not hold"
        assert "dice 0.800" in row["numbers"]


def test_holm_counts_the_pairs_of_one_class_and_not_of_all():
    study = Study(further=False)
    rng = np.random.default_rng(0)
    for loss in ("ce", "dice"):
        trial = study.add(make_trial("a", loss), rng.random(9).tolist(), label="kidney")
        study.add_scores(trial, "tumour", rng.random(9).tolist())
    tests = answers_of(study).significance
    assert set(tests["label"]) == {"kidney", "tumour"}
    assert (tests["family_size"] == 1).all()
    assert tests["p_holm"].tolist() == tests["p"].tolist()


def outdated_beside_current():
    """One loss in two results versions: the older one marks everything right."""
    study = Study(further=False)
    for repeat in range(2):
        study.add(make_trial("a", "ce", repeat=repeat, test_dsc=0.6, train_seconds=60.0), BASE.tolist())
        study.add(make_trial("a", "dice", repeat=repeat, test_dsc=0.5, train_seconds=60.0), (BASE - 0.1).tolist())
        study.add(
            make_trial(
                "a", "dice", repeat=repeat, val_dsc=1.0, test_dsc=1.0, results_version=RESULTS_VERSION - 1,
                train_seconds=999.0,
            ),
            np.ones(10).tolist(),
        )  # fmt: skip
    return study


def test_outdated_trials_count_in_no_table_curve_choice_or_test():
    answer = answers_of(outdated_beside_current())
    dice = answer.table[(answer.table["variant"] == "dice") & (answer.table["metric"] == "dsc")].iloc[0]
    assert (dice["mean"], dice["repeats"]) == (pytest.approx(0.5), 2)
    assert (answer.images["repeats"] == 2).all()
    curve = answer.curves[answer.curves["variant"] == "dice"].iloc[0]
    assert (curve["dsc"], curve["repeats"]) == (pytest.approx(0.5), 2)
    chosen = answer.selection[answer.selection["variant"] == "dice"].iloc[0]
    assert (chosen["val_dsc"], chosen["test_dsc"], chosen["repeats"]) == (0.8, 0.5, 2)
    assert (answer.significance.loc[answer.significance["metric"] == "dsc", "effect"] > 0).all()


def test_the_interval_over_repeats_is_of_the_repeats_means_and_not_of_the_images():
    study = Study(further=False)
    for repeat, shift in enumerate((-0.01, 0.0, 0.01)):
        study.add(make_trial("a", "ce", repeat=repeat), (BASE + shift).tolist())
    answer = answers_of(study)
    width = 4.302653 * 0.01 / np.sqrt(3)  # t(0.975, 2) · sd / √3
    row = answer.table[answer.table["metric"] == "dsc"].iloc[0]
    assert row["repeats_half_width"] == pytest.approx(width, rel=1e-5)
    assert answer.curves.iloc[0]["repeats_half_width"] == pytest.approx(width, rel=1e-5)
    assert row["half_width"] == pytest.approx(2.262157 * BASE.std(ddof=1) / np.sqrt(10), rel=1e-5)


def test_the_sentence_counts_what_holm_leaves_of_the_best_loss_s_wins():
    """Each of three others is worse by the same scores: what convinces of one pair is no evidence among six."""
    study, alone = Study(further=False), Study(further=False)
    for repeat in range(3):
        for loss in ("ce", "dice", "focal"):
            study.add(make_trial("a", loss, repeat=repeat), BASE.tolist())
        for one in (study, alone):
            one.add(make_trial("a", "tversky", repeat=repeat), (BASE + SHIFTS).tolist())
        alone.add(make_trial("a", "ce", repeat=repeat), BASE.tolist())
    found = answers_of(study)
    assert found.comparisons.loc[found.comparisons["metric"] == "dsc", "p"].min() < 0.05
    assert "was not shown to be better" in found.sentences[0]
    assert "was not shown to be better" not in answers_of(alone).sentences[0]


def test_a_loss_that_is_better_in_most_patients_is_not_beaten_by_one_with_the_higher_mean_over_images():
    """CE is far better on the many images of one patient, and worse on the one image of each of the nine others."""
    images = np.linspace(0.5, 0.6, 39)
    first = np.arange(39) < 30
    steps = np.linspace(0, 0.002, 39)
    study = Study(further=False)
    for repeat in range(3):
        study.add(make_trial("a", "ce", repeat=repeat), images.tolist())
        dice = np.where(first, images - 0.05, images + 0.1 + steps)
        study.add(make_trial("a", "dice", repeat=repeat), dice.tolist())
    study.columns["group"] = ["one" if i < 30 else f"p{i}" for _ in range(6) for i in range(39)]
    found = answers_of(study)
    (row,) = found.comparisons[found.comparisons["metric"] == "dsc"].to_dict("records")
    assert (row["loss_a"], row["groups"]) == ("ce", 10)
    assert row["difference"] < 0
    assert row["p_holm"] < 0.05
    assert "ce had the highest mean test DSC" in found.sentences[0]
    assert "it was not shown to be better than the other loss" in found.sentences[0]
