"""Scores by thirds of the structures' sizes."""

import numpy as np
import pytest
from study_maker import Study, make_trial

from dashboards.report.sections.sizes import left_out_text
from sweeper.analysis import analyse, score_frame, trial_frame
from sweeper.analysis.sizes import by_size, sizes_of


def answers(sizes, dsc, *, other=None, **columns):
    """One loss on images of these sizes, and another one where its scores are given."""
    study = Study(further=False)
    study.add(make_trial("a", "ce"), dsc)
    if other is not None:
        study.add(make_trial("a", "dice"), other)
    study.columns["size"] = list(sizes)
    study.columns.update(columns)
    return analyse(trial_frame(study.trials), score_frame(study.columns))


def thirds(found, metric="dsc"):
    return found.by_size[found.by_size["metric"] == metric].set_index("third")


def test_means_are_over_the_images_of_a_third():
    found = thirds(answers([60, 10, 40, 20, 50, 30], [0.6, 0.1, 0.4, 0.2, 0.5, 0.3]))
    assert found["mean"].to_dict() == pytest.approx({"small": 0.15, "medium": 0.35, "large": 0.55})
    assert found[["smallest", "largest"]].to_numpy().tolist() == [[10, 20], [30, 40], [50, 60]]
    assert found["n"].tolist() == [2, 2, 2]
    # Student's interval of two values: t(0.975, 1) times half their distance.
    assert found["half_width"].tolist() == pytest.approx([12.7062 * 0.05] * 3, rel=1e-4)


def test_structures_of_one_size_are_in_one_third():
    found = thirds(answers([10, 10, 10, 20, 30, 40], [0.5] * 6))
    assert found["n"].to_dict() == {"small": 3, "medium": 1, "large": 2}


def test_an_image_without_the_class_is_in_no_third_and_is_counted():
    found = answers([0, 10, 20, 30], [1.0, 0.1, 0.2, 0.3])
    assert thirds(found)["mean"].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert left_out_text(sizes_of(found.selected)) == "Images without the class: 1."


def test_unknown_sizes_are_said_and_a_size_is_known_where_one_loss_has_it():
    found = answers([10, 20, 30, None, None, None], [0.1, 0.2, 0.3], other=[0.4, 0.5, 0.6])
    assert thirds(found).loc[["small"], "mean"].tolist() == pytest.approx([0.1, 0.4])
    nothing = answers([None] * 3, [0.1, 0.2, 0.3])
    assert nothing.by_size.empty
    assert "Of 3 of 3 images the structure's size is unknown" in left_out_text(sizes_of(nothing.selected))


def test_too_few_sizes_make_no_thirds():
    found = answers([10, 10, 20, 20], [0.1, 0.2, 0.3, 0.4])
    assert found.by_size.empty
    assert "Fewer than three sizes differ" in left_out_text(sizes_of(found.selected))


def test_a_small_structure_that_was_missed_costs_the_diagonal_of_its_image():
    distances = {"hd95": [np.inf, 2.0, 3.0], "diagonal": [90.0, 90.0, 90.0]}
    found = thirds(answers([10, 20, 30], [0.0, 0.5, 0.6], **distances), "hd95")
    assert found["mean"].tolist() == [90, 2, 3]
    assert found["missed"].tolist() == [1, 0, 0]


def test_scores_without_sizes_have_the_frame_s_columns():
    study = Study(further=False)
    study.add(make_trial("a", "ce"), [0.5, 0.6])
    found = analyse(trial_frame(study.trials), score_frame(study.columns))
    assert list(by_size(found.selected).columns) == list(answers([1, 2, 3], [0.1, 0.2, 0.3]).by_size.columns)
