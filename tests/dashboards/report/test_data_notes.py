"""What the report says of a study's data: leakage, official partitions, exclusions, how scores were made; no folder."""

from __future__ import annotations

import json

import pytest
from study_maker import MemoryRepository, Study, make_sweep, make_trial

from dashboards.report.sections import ran, rests
from sweeper.analysis import score_frame, trial_frame
from sweeper.grids.details import DatasetDetails, Groups, SweepDetails
from tests.dashboards.reports import write_report
from tests.dashboards.unrendered import unrendered

GRID = {
    "name": "s",
    "evaluation": {"native": True},
    "datasets": [
        {"name": "cvc_clinicdb", "folder": "/home/jane/patients/cvc", "pictures": False},
        {"name": "drive", "evaluation": {"native": False, "field_of_view": True}, "folder": None},
        {"name": "cells", "exclude": ["c3"]},
    ],
}
UNKNOWN = "neighbouring frames may lie on both sides"
DETAILS = {
    "data": {
        "cvc_clinicdb": {"groups": {"known": 0, "shared": 0}, "ungrouped": UNKNOWN, "split_settings": {}},
        "drive": {"groups": {"known": 0, "shared": 0}, "split_settings": {"official": True}},
        "cells": {
            "groups": {"known": 9, "shared": 4},
            "split_settings": {"folds": 5, "fold": 2},
            "excluded": [["c3", "excluded by a setting"]],
        },
    }
}


def test_leakage_partitions_and_ways_of_scoring_are_told():
    notes = rests.data_notes(GRID, SweepDetails.from_dict(DETAILS).data)
    assert [n for n in notes if "leakage" in n] == [
        f"cvc_clinicdb: leakage: {UNKNOWN}.",
        next(n for n in notes if n.startswith("cells: leakage: 4 of 9 patients or sequences")),
    ]
    assert [n.split(":")[0] for n in notes if "native" in n] == ["cvc_clinicdb", "cells"]
    assert [n.split(":")[0] for n in notes if "field of view" in n] == ["drive"]
    assert any(n.startswith("drive: the test set is the official one") for n in notes)
    assert any("fold 2 (from 0) of 5" in n for n in notes)


def test_all_folds_and_new_draws_are_told():
    settings = {"folds": 5, "fold": None, "resplit": True}
    first, second = rests.data_notes({}, {"cells": DatasetDetails(split_settings=settings)})
    assert first.startswith("cells: a cross-validation of 5 folds: each was the test set")
    assert second == "cells: each repeat drew training and validation images anew; the test images are the same in all."


def test_classes_that_a_part_lacks_and_masks_that_lost_one_are_told_and_listed():
    known = DatasetDetails(
        cases=9, missing=(("test", "tumour"), ("training", "cyst")), emptied=(("c1", "tumour"), ("c2", "tumour"))
    )
    test, training, emptied = rests.data_notes({}, {"cells": known})
    assert test == "cells: no test image has a pixel of class tumour: it enters no table, mean or test."
    assert training == "cells: no training image has a pixel of class cyst."
    assert emptied.startswith("cells: 2 of 9 masks have class tumour in the file and lost it by resizing.")
    assert rests.emptied_table({"cells": known}).rows == (("cells", "c1", "tumour"), ("cells", "c2", "tumour"))


def test_files_that_belong_to_no_case_are_told_and_remembered():
    known = SweepDetails(
        data={"cells": DatasetDetails(unmatched="1 image file belongs to no case: masks/2_mask_1.png")}
    )
    again = SweepDetails.from_dict(json.loads(json.dumps(known.to_dict())))
    assert rests.data_notes({}, again.data) == ["cells: 1 image file belongs to no case: masks/2_mask_1.png."]


def test_a_grouped_split_is_said_to_be_clean():
    cells = DatasetDetails(groups=Groups(known=9), ungrouped=UNKNOWN)
    assert rests.data_notes({}, {"cells": cells}) == [
        "cells: no patient or sequence has images both in the test set and outside of it."
    ]


def test_groups_that_are_less_than_patients_are_not_said_to_be_clean():
    slices = DatasetDetails(groups=Groups(known=9, partial=True), ungrouped="which volumes are of one patient is open")
    (note,) = rests.data_notes({}, {"slices": slices})
    assert "patient or sequence has" not in note
    assert note.endswith("but they do not tell all: which volumes are of one patient is open.")


def test_scores_without_the_groups_that_the_files_name_are_told():
    study, names = Study(), ("cells", "drive", "nuclei")
    for dataset in names:
        study.add(make_trial(dataset, "ce"), [0.5, 0.6])
    study.trials.append(new := make_trial("nuclei", "dice"))
    study.add_scores(new, "thing", [0.7, 0.8], groups=["p1", "p2"])
    data_sets = {"cells": DatasetDetails(groups=Groups(known=9)), "drive": DatasetDetails(),
                 "nuclei": DatasetDetails(groups=Groups(known=2))}  # fmt: skip
    notes = rests.group_notes(trial_frame(study.trials), score_frame(study.columns), data_sets)
    assert [note.partition(" were stored")[0] for note in notes] == [
        "cells: the files name 9 patients or sequences, but the scores of 1 of 1 trials",
        "nuclei: the files name 2 patients or sequences, but the scores of 1 of 2 trials",
    ]


def test_the_grid_shows_no_folder_above_the_data_set_s_own():
    shown = json.loads(ran.grid_text(GRID))
    assert shown["datasets"][0]["folder"] == "cvc"
    assert shown["datasets"][1:] == GRID["datasets"][1:]
    assert ran.grid_text({"text": "x"}) == '{\n  "text": "x"\n}'


@pytest.mark.slow
def test_the_page_has_all_of_it_and_hides_pictures(tmp_path):
    study = Study()
    for dataset in ("cvc_clinicdb", "cells"):
        for loss in ("ce", "dice"):
            study.add(make_trial(dataset, loss), [0.5, 0.6, 0.7])
    repository = MemoryRepository(study, make_sweep(grid=GRID, details=DETAILS))
    with unrendered():
        page = write_report(repository, "s", tmp_path, trials_folder=tmp_path, prepared_root=tmp_path).page
    assert page is not None
    text = page.read_text(encoding="utf-8")
    assert UNKNOWN in text
    assert "4 of 9 patients or sequences" in text
    assert "Excluded cases (1)" in text
    assert "excluded by a setting" in text
    assert "/home/jane" not in text
    assert "its pictures are switched off (pictures = false)" in text
    assert text.count("its pictures are switched off") == 1
