"""Example segmentations from real prepared images and from a volume, and from files that are missing or damaged."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from study_maker import Study, make_trial

from sweeper.analysis import analyse, score_frame, trial_frame
from sweeper.views.crops import Errors
from sweeper.views.examples import PREDICTIONS, load_examples, pick_cases, stretched
from workers.datasets.image_folder import NUCLEI, Nuclei
from workers.datasets.prepared import open_prepared, prepare
from workers.datasets.registry import get_reader
from workers.datasets.synthetic import synthesise


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Five of the project's own nuclei images, prepared."""
    root = tmp_path_factory.mktemp("prepared")
    source = tmp_path_factory.mktemp("source")
    for part in ("images", "masks"):
        (source / part).mkdir()
        for file in sorted((NUCLEI / part).glob("*.png"))[:5]:
            (source / part / file.name).write_bytes(file.read_bytes())
    return root, prepare(Nuclei(), source, root, processes=1)


def study_on(dataset, dsc=(0.5, 0.9, 0.7, 0.6, 0.8)):
    study = Study()
    for loss in ("ce", "dice"):
        trial = make_trial("nuclei", loss)
        data = dataclasses.replace(trial.spec.data, prepared=dataset.key)
        trial = dataclasses.replace(trial, spec=dataclasses.replace(trial.spec, data=data))
        study.trials.append(trial)
        study.add_scores(trial, "nucleus", list(dsc))
    names = dict(zip([f"case{i:03}" for i in range(len(dsc))], dataset.case_ids, strict=True))
    study.columns["case"] = [names[c] for c in study.columns["case"]]
    return study


KNOWN = {}


def answers_of(study):
    """Most tests here ask about the same study."""
    content = repr(study)
    if content not in KNOWN:
        KNOWN[content] = analysed(study)
    return KNOWN[content]


def analysed(study):
    return analyse(trial_frame(study.trials), score_frame(study.columns))


def predict(folder, study, dataset):
    for trial in study.trials:
        (folder / trial.hash).mkdir(parents=True)
        labels = {case: np.asarray(dataset.label(case)) for case in dataset.case_ids}
        np.savez_compressed(folder / trial.hash / PREDICTIONS, **labels)


def test_median_best_and_worst_follow_from_the_scores(prepared):
    _, dataset = prepared
    ids = dataset.case_ids
    assert roles(answers_of(study_on(dataset))) == {"median": ids[2], "best": ids[1], "worst": ids[0]}


def roles(answers):
    (picked,) = pick_cases(answers).values()
    return {one.role: one.case for one in picked}


def test_one_image_is_shown_once():
    study = Study()
    study.add(make_trial("a", "ce"), [0.5])
    assert roles(answers_of(study)) == {"median": "case000"}


def test_the_case_on_which_the_losses_disagree_most_is_shown_too():
    def picked(*second):
        scores = {"ce": (0.2, 0.5, 0.6, 0.9, 0.7), "dice": second}
        selected = pd.DataFrame(
            [("a", v, v, np.nan, f"case{i}", d) for v, own in scores.items() for i, d in enumerate(own)],
            columns=["dataset", "variant", "loss", "gamma", "case", "dsc"],
        )
        return {one.role: one for one in pick_cases(SimpleNamespace(selected=selected))["a"]}

    found = picked(0.2, 0.9, 0.6, 0.9, 0.1)
    assert {role: one.case for role, one in found.items()} == {
        "median": "case2", "best": "case3", "worst": "case0", "largest disagreement": "case4"
    }  # fmt: skip
    both = picked(0.2, 0.9, 0.6, 0.9, 0.7)["median and largest disagreement"]
    assert (both.case, both.mean, both.low, both.high) == ("case1", pytest.approx(0.7), 0.5, 0.9)


def test_the_same_cases_are_shown_for_each_loss(prepared, tmp_path):
    root, dataset = prepared
    study = study_on(dataset)
    predict(tmp_path, study, dataset)
    (examples,) = load_examples(answers_of(study), tmp_path, root)
    assert examples.problems == ()
    assert [e.picked.role for e in examples.shown] == ["median", "best", "worst"]
    for example in examples.shown:
        (plane,) = example.planes
        assert [s.variant for s in example.losses] == ["ce", "dice"]
        truth = np.asarray(open_prepared(dataset.path).label(example.picked.case))
        assert np.array_equal(plane.truth, truth)
        assert all(np.array_equal(s.predictions[0], truth) for s in example.losses)
        assert plane.image.shape == (*truth.shape, 3)
        assert stretched(plane.image).min() == 0
        assert stretched(plane.image).max() == 1


def test_the_enlarged_part_is_where_the_losses_disagree_and_errors_are_counted_of_the_whole(prepared, tmp_path):
    root, dataset = prepared
    study = study_on(dataset)
    predict(tmp_path, study, dataset)
    case = pick_cases(answers_of(study))["nuclei"][0].case
    truth = np.asarray(dataset.label(case))
    agreed, disputed = truth.copy(), truth.copy()
    agreed[:20, :20] = 1 - agreed[:20, :20]  # both losses are wrong here, and alike
    disputed[:20, :20] = agreed[:20, :20]
    place = (slice(200, 210), slice(150, 170))
    disputed[place] = 1 - disputed[place]
    for trial, mask in zip(study.trials, (agreed, disputed), strict=True):
        labels = {c: np.asarray(dataset.label(c)) for c in dataset.case_ids} | {case: mask}
        np.savez_compressed(tmp_path / trial.hash / PREDICTIONS, **labels)
    (examples,) = load_examples(answers_of(study), tmp_path, root)
    example = examples.shown[0]
    box = example.planes[0].box
    assert example.disputed == 200
    assert box.top <= 200 <= 210 <= box.top + box.height
    assert box.left <= 150 <= 170 <= box.left + box.width
    assert box.height < truth.shape[0] / 2
    ours = example.losses[1].errors
    assert ours == Errors(int((truth[disputed > truth] == 0).sum()), int((truth > disputed).sum()))
    assert ours.false_positives + ours.false_negatives == 600


def test_each_picture_has_the_score_of_the_run_that_it_shows(prepared, tmp_path):
    root, dataset = prepared
    study = study_on(dataset)
    again = dataclasses.replace(study.trials[0].spec, repeat=1, seed=1)
    second = dataclasses.replace(study.trials[0], spec=again, hash=again.hash, repeat=1, seed=1)
    study.trials.append(second)
    study.add_scores(second, "nucleus", [0.1] * 5)
    study.columns["case"][-5:] = study.columns["case"][:5]
    predict(tmp_path, study, dataset)
    (examples,) = load_examples(answers_of(study), tmp_path, root)
    worst = next(e for e in examples.shown if "worst" in e.picked.role)
    assert {s.variant: s.dsc for s in worst.losses} == pytest.approx({"ce": 0.5, "dice": 0.5})
    assert worst.losses[0].trial == study.trials[0].hash
    assert worst.picked.low == pytest.approx(0.3)  # the mean over the runs decides which case is shown


@pytest.mark.slow
def test_a_volume_has_three_planes_through_the_largest_wrong_component(tmp_path):
    source = synthesise("kits19", 3, tmp_path / "kits19", seed=0, size=(24, 48, 48))
    dataset = prepare(get_reader("kits19"), source, tmp_path / "prepared", processes=1)
    study = study_on(dataset, (0.5, 0.9, 0.7))
    for i, trial in enumerate(study.trials):
        study.trials[i] = dataclasses.replace(trial, dataset="kits19")
    predict(tmp_path / "trials", study, dataset)
    (examples,) = load_examples(answers_of(study), tmp_path / "trials", tmp_path / "prepared")
    assert examples.problems == ()
    for example in examples.shown:
        assert [p.name for p in example.planes] == ["axial", "coronal", "sagittal"]
        assert all((p.truth > 0).any() for p in example.planes)  # nothing is wrong: through the foreground
        assert example.planes[0].aspect == pytest.approx(1)
        assert example.planes[1].aspect == pytest.approx(3.22 / 1.62, rel=0.01)

    masks = {case: np.asarray(dataset.label(case)).copy() for case in dataset.case_ids}
    for mask in masks.values():
        corner = mask[1:4, 2:6, 3:9]
        corner[:] = np.where(corner == 0, 1, 0)  # 72 voxels, connected
        mask[-1, -1, -1] = 1 - min(int(mask[-1, -1, -1]), 1)
    np.savez_compressed(tmp_path / "trials" / study.trials[1].hash / PREDICTIONS, **masks)
    (examples,) = load_examples(answers_of(study), tmp_path / "trials", tmp_path / "prepared")
    for example in examples.shown:
        for plane, extent, (top, left) in zip(
            example.planes, ((1, 4), (2, 6), (3, 9)), ((2, 3), (1, 3), (1, 2)), strict=True
        ):
            assert extent[0] <= plane.at < extent[1]
            assert plane.box.top <= top
            assert plane.box.left <= left
        assert sum((s.predictions[0] != example.planes[0].truth).sum() for s in example.losses) >= 24


@pytest.mark.slow
def test_missing_and_damaged_predictions_are_named_and_the_others_shown(prepared, tmp_path):
    root, dataset = prepared
    study = study_on(dataset)
    predict(tmp_path, study, dataset)
    (tmp_path / study.trials[0].hash / PREDICTIONS).write_bytes(b"PK not a zip")
    (examples,) = load_examples(answers_of(study), tmp_path, root)
    assert {s.variant for e in examples.shown for s in e.losses} == {"dice"}
    assert len(examples.problems) == 1
    (tmp_path / study.trials[0].hash / PREDICTIONS).unlink()
    (examples,) = load_examples(answers_of(study), tmp_path, root)
    assert examples.problems == (f"ce: trial {study.trials[0].hash} has no {PREDICTIONS} on this machine",)


def test_a_prediction_of_another_shape_is_refused(prepared, tmp_path):
    root, dataset = prepared
    study = study_on(dataset)
    predict(tmp_path, study, dataset)
    wrong = {case: np.zeros((3, 3), np.uint8) for case in dataset.case_ids}
    np.savez_compressed(tmp_path / study.trials[1].hash / PREDICTIONS, **wrong)
    (examples,) = load_examples(answers_of(study), tmp_path, root)
    assert {s.variant for e in examples.shown for s in e.losses} == {"ce"}
    assert "shape (3, 3)" in examples.problems[0]


def test_without_prepared_data_or_folders_the_reason_is_given(prepared, tmp_path):
    _, dataset = prepared
    answers = answers_of(study_on(dataset))
    (examples,) = load_examples(answers, tmp_path, tmp_path)
    assert not examples.shown
    assert len(examples.problems) == 2
    (examples,) = load_examples(answers, None, None)
    assert examples.problems == ("the trials' predictions are not on this machine",)


def test_data_sets_whose_pictures_are_switched_off_show_none(prepared, tmp_path):
    root, dataset = prepared
    study = study_on(dataset)
    predict(tmp_path, study, dataset)
    answers = answers_of(study)
    (examples,) = load_examples(answers, tmp_path, root, hidden={str(answers.trials["dataset"].iloc[0])})
    assert examples.shown == ()
    assert examples.problems == ("its pictures are switched off (pictures = false)",)


def test_problems_name_no_folder(prepared, tmp_path):
    _, dataset = prepared
    study = study_on(dataset)
    predict(tmp_path, study, dataset)
    (examples,) = load_examples(answers_of(study), tmp_path, tmp_path / "elsewhere of mine")
    assert examples.problems
    assert not any(str(tmp_path) in problem or "elsewhere" in problem for problem in examples.problems)
