"""The paper's tables as data, and ours beside them."""

import pytest
from study_maker import Study, make_trial, paper_like

from sweeper.analysis import analyse, score_frame, trial_frame
from sweeper.analysis.paper import DATASETS, LOSSES, paper_tables


def answers_of(study):
    return analyse(trial_frame(study.trials), score_frame(study.columns))


def ranked(means, dataset="drive", label="vessel"):
    """A study in which each loss has the given mean DSC."""
    study = Study()
    for loss, mean in means.items():
        study.add(make_trial(dataset, loss), [mean, mean], label=label)
    return answers_of(study)


def paper_means(dataset, label):
    table = paper_tables()
    own = table[(table["dataset"] == dataset) & (table["label"] == label) & (table["metric"] == "dsc")]
    return dict(zip(own["loss"], own["mean"], strict=True))


def test_every_figure_of_tables_2_to_6_is_there_once():
    table = paper_tables()
    assert len(table) == 192
    assert not table.duplicated(["dataset", "label", "loss", "metric"]).any()
    assert set(table["dataset"]) == set(DATASETS)
    assert set(table["loss"]) == set(LOSSES)


@pytest.mark.parametrize(
    ("dataset", "label", "loss", "metric", "mean", "half"),
    [
        ("cvc_clinicdb", "polyp", "unified_focal_asym", "dsc", 0.909, 0.023),
        ("kits19", "tumour", "ce", "recall", 0.303, 0.103),
        ("brats20", "enhancing_tumour", "tversky", "precision", 0.525, 0.061),
    ],
)
def test_single_figures(dataset, label, loss, metric, mean, half):
    row = paper_tables().set_index(["dataset", "label", "loss", "metric"]).loc[(dataset, label, loss, metric)]
    assert (row["mean"], row["ci95_half_width"]) == (mean, half)


def test_changing_the_returned_tables_changes_nothing_for_others():
    table = paper_tables()
    table["mean"] = 0.0
    assert paper_tables()["mean"].max() > 0.9


def test_ours_stand_beside_the_paper_s():
    table = ranked({"ce": 0.8}).table.set_index("metric")
    assert table.loc["dsc", "paper_mean"] == 0.789
    assert table.loc["dsc", "difference"] == pytest.approx(0.011)


def test_another_setting_of_a_loss_has_no_figure_in_the_paper():
    study = Study()
    for delta in (0.5, 0.7):
        trial = make_trial("drive", "unified_focal_sym", gamma=0.5, parameters={"delta": delta})
        study.add(trial, [0.5, 0.6], label="vessel")
    assert answers_of(study).table["paper_mean"].isna().all()


def test_a_data_set_that_the_paper_lacks_has_none():
    answers = answers_of(paper_like(gammas=(0.5,)))
    assert answers.table["paper_mean"].isna().all()
    assert answers.agreement.empty


def test_the_paper_s_own_means_rank_as_in_the_paper():
    row = ranked(paper_means("drive", "vessel")).agreement.iloc[0]
    assert row["tau"] == pytest.approx(1)
    assert row["losses"] == 8


@pytest.mark.slow
def test_reversed_means_rank_the_other_way():
    means = {loss: 1 - mean for loss, mean in paper_means("drive", "vessel").items()}
    assert ranked(means).agreement.iloc[0]["tau"] == pytest.approx(-1)
