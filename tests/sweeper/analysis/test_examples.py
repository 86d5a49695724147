"""Example segmentations from real prepared images and from a volume, and from files that are missing or damaged."""

import dataclasses

import numpy as np
import pytest
from study_maker import Study, make_trial

from sweeper.analysis import analyse, score_frame, trial_frame
from sweeper.views.examples import PREDICTIONS, load_examples, pick_cases
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
    assert pick_cases(answers_of(study_on(dataset))) == {"nuclei": {"median": ids[2], "best": ids[1], "worst": ids[0]}}


def test_one_image_is_shown_once():
    study = Study()
    study.add(make_trial("a", "ce"), [0.5])
    assert pick_cases(answers_of(study)) == {"a": {"median": "case000"}}


def test_the_same_cases_are_shown_for_each_loss(prepared, tmp_path):
    root, dataset = prepared
    study = study_on(dataset)
    predict(tmp_path, study, dataset)
    (examples,) = load_examples(answers_of(study), tmp_path, root)
    assert examples.problems == ()
    assert {(e.variant, e.role) for e in examples.shown} == {
        (v, r) for v in ("ce", "dice") for r in ("median", "best", "worst")
    }
    for example in examples.shown:
        (plane,) = example.planes
        truth = np.asarray(open_prepared(dataset.path).label(example.case))
        assert np.array_equal(plane.truth, truth)
        assert np.array_equal(plane.prediction, truth)
        assert plane.image.shape == (*truth.shape, 3)
        assert plane.image.min() >= 0
        assert plane.image.max() <= 1


@pytest.mark.slow
def test_a_volume_has_three_planes_through_the_foreground(tmp_path):
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
        assert all((p.truth > 0).any() for p in example.planes)
        assert example.planes[0].aspect == pytest.approx(1)
        assert example.planes[1].aspect == pytest.approx(3.22 / 1.62, rel=0.01)


@pytest.mark.slow
def test_missing_and_damaged_predictions_are_named_and_the_others_shown(prepared, tmp_path):
    root, dataset = prepared
    study = study_on(dataset)
    predict(tmp_path, study, dataset)
    (tmp_path / study.trials[0].hash / PREDICTIONS).write_bytes(b"PK not a zip")
    (examples,) = load_examples(answers_of(study), tmp_path, root)
    assert {e.variant for e in examples.shown} == {"dice"}
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
    assert {e.variant for e in examples.shown} == {"ce"}
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
