"""Classes that the images do not show enter nothing; what both masks lack is counted."""

import numpy as np
import pytest
from study_maker import Study, make_trial

from dashboards.report import latex
from dashboards.report.sections.results import absent_texts, both_empty_text
from sweeper.analysis import analyse, score_frame, trial_frame
from sweeper.analysis.denominators import counted
from sweeper.analysis.selection import image_scores, select_gamma, trial_scores
from sweeper.analysis.tables import result_table

NOTHING, MARKED = (1.0, 1.0, 1.0), (0.0, 0.0, None)
"""DSC, precision and recall of an image without the class: nothing marked, something marked."""

LOSSES = {"ce": NOTHING, "dice": MARKED}


def study_of(*, tumour_in=(), sizes=True, val_dsc=0.8):
    """Two losses on three test and three validation images: all show the kidney, `tumour_in` says what shows the
    tumour. CE marks no tumour anywhere, dice marks some in every image."""
    study = Study()
    for loss, empty in LOSSES.items():
        trial = make_trial("a", loss, val_dsc=val_dsc, test_dsc=0.8, classes=("background", "kidney", "tumour"))
        study.trials.append(trial)
        for partition, first in (("test", 0), ("validation", 3)):
            study.add_scores(trial, "kidney", [0.5, 0.6, 0.7], partition, first=first)
            for case in range(first, first + 3):
                shown = (partition, case) in tumour_in
                dsc, precision, recall = (0.25, 0.3, 0.4) if shown else empty
                row = {"trial": trial.hash, "partition": partition, "case": f"case{case:03}", "label": "tumour",
                       "group": "", "dsc": dsc, "iou": dsc, "precision": precision, "recall": recall, "hd95": None,
                       "asd": None}  # fmt: skip
                for key, value in row.items():
                    study.columns[key].append(value)
    if sizes:
        study.columns["size"] = [
            9.0 if label == "kidney" or (partition, int(case[-1])) in tumour_in else 0.0
            for partition, case, label in zip(
                study.columns["partition"], study.columns["case"], study.columns["label"], strict=True
            )
        ]
    return study


def counted_of(study):
    return counted(trial_frame(study.trials), score_frame(study.columns))


def table_of(study):
    whole = counted_of(study)
    return result_table(image_scores(whole.trials, whole.scores), trial_scores(whole.trials, whole.scores))


TEST_LACKS = {"dataset": "a", "partition": "test", "label": "tumour"}


@pytest.mark.parametrize("sizes", [True, False])
def test_a_class_that_no_test_image_shows_does_not_count(sizes):
    whole = counted_of(study_of(tumour_in={("validation", 3)}, sizes=sizes))
    assert whole.absent.to_dict("records") == [TEST_LACKS]
    assert set(whole.scores.loc[whole.scores["partition"] == "test", "label"]) == {"kidney"}
    assert set(whole.scores.loc[whole.scores["partition"] == "validation", "label"]) == {"kidney", "tumour"}
    assert whole.trials["test_dsc"].tolist() == pytest.approx([0.6, 0.6])
    assert whole.trials["val_dsc"].tolist() == [0.8, 0.8]


def test_it_is_in_no_table_test_or_sentence_and_the_report_says_so():
    study = study_of(tumour_in={("validation", 3)})
    answers = analyse(trial_frame(study.trials), score_frame(study.columns))
    for frame in (answers.table, answers.significance, answers.images, answers.selected):
        assert set(frame["label"]) == {"kidney"}
    assert answers.trials["test_dsc"].tolist() == pytest.approx([0.6, 0.6])
    assert not any("tumour" in sentence for sentence in answers.sentences)
    assert absent_texts(answers) == [
        "a: no test image has a pixel of class tumour. It is in no table, mean, test or sentence."
    ]
    (caption,) = latex.result_tables(answers).values()
    assert "No image has both an empty truth and an empty prediction." in caption


def test_a_class_that_no_validation_image_shows_chooses_nothing():
    """With it, CE would have the highest validation DSC, because it marks nothing."""
    whole = counted_of(study_of(tumour_in={("test", 0), ("test", 1), ("test", 2)}))
    assert whole.absent.to_dict("records") == [{**TEST_LACKS, "partition": "validation"}]
    assert set(whole.scores.loc[whole.scores["partition"] == "test", "label"]) == {"kidney", "tumour"}
    assert select_gamma(whole.trials)["val_dsc"].tolist() == pytest.approx([0.6, 0.6])


def test_classes_that_some_image_shows_and_scores_that_do_not_tell_stay_as_they_are():
    shown = counted_of(study_of(tumour_in={("test", 1), ("validation", 4)}))
    assert shown.absent.empty
    assert shown.trials["val_dsc"].tolist() == [0.8, 0.8]
    perfect = Study()
    perfect.add(make_trial("a", "ce"), [1.0, 1.0])  # recall 1: both masks may be empty, or equal
    assert len(counted_of(perfect).scores) == 2


def test_a_fold_without_a_class_counts_it_in_no_dsc_of_its_own():
    study = Study()
    classes = ("background", "kidney", "tumour")
    for fold, (tumour, size) in enumerate(((1.0, 0.0), (0.5, 4.0))):
        study.trials.append(trial := make_trial("a", "ce", fold=fold, val_dsc=0.7, test_dsc=0.9, classes=classes))
        study.add_scores(trial, "kidney", [0.8], first=fold)
        study.add_scores(trial, "tumour", [tumour], first=fold)
        study.columns.setdefault("size", []).extend([9.0, size])
    whole = counted_of(study)
    assert whole.absent.empty
    assert whole.trials["test_dsc"].tolist() == pytest.approx([0.8, 0.9])
    assert len(whole.scores) == 4


def test_the_number_of_images_that_are_empty_in_both_masks_stands_under_the_table():
    table = table_of(study_of(tumour_in={("test", 0), ("validation", 3)}))
    dsc = table[(table["metric"] == "dsc") & (table["label"] == "tumour")].set_index("variant")
    assert dsc["both_empty"].to_dict() == {"ce": 2, "dice": 0}
    assert both_empty_text(table, "a", "tumour").endswith("overlap metric: ce 2, dice 0.")
    assert both_empty_text(table, "a", "kidney") == "No image has both an empty truth and an empty prediction."


def test_an_older_version_s_scores_do_not_tell_how_many_are_empty():
    table = table_of(study_of(tumour_in={("test", 0), ("validation", 3)}, sizes=False))
    assert table["both_empty"].isna().all()
    assert "is not known" in both_empty_text(table, "a", "tumour")


def test_nothing_but_the_class_leaves_an_empty_table():
    study = Study()
    study.add(make_trial("a", "ce", val_dsc=1.0, test_dsc=1.0), [1.0, 1.0])
    study.columns["size"] = [0.0, 0.0]
    assert table_of(study).empty
    assert np.isnan(counted_of(study).trials["test_dsc"].iloc[0])
