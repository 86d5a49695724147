"""Scores against scikit-learn, distances against geometry; and the rules for empty masks."""

import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trials.metrics import METRICS, Metric, paper_metrics, register
from workers.errors import InputError
from workers.scoring import masks

CLASSES = ("background", "kidney", "tumour")


def score(truth, prediction, classes=CLASSES, **options):
    return masks.score_case(
        np.asarray(truth, np.uint8), np.asarray(prediction, np.uint8), classes, partition="test", case="c", **options
    )


label_maps = hnp.arrays(np.uint8, (2, 4, 5), elements=st.integers(0, 2))


@settings(deadline=None)
@given(label_maps)
def test_overlap_scores_agree_with_scikit_learn(maps):
    truth, prediction = maps
    for index, found in enumerate(score(truth, prediction), start=1):
        t, p = (truth == index).ravel(), (prediction == index).ravel()
        expected = {
            "dsc": sklearn.metrics.f1_score(t, p, zero_division=1),
            "iou": sklearn.metrics.jaccard_score(t, p, zero_division=1),
            "precision": sklearn.metrics.precision_score(t, p, zero_division=0 if t.any() else 1),
            "recall": sklearn.metrics.recall_score(t, p, zero_division=1),
        }
        if p.any() and not t.any():
            expected["recall"] = None
        for name in paper_metrics():
            value = found[name]
            assert value is expected[name] if expected[name] is None else value == pytest.approx(expected[name])


def test_every_foreground_class_is_scored_by_name():
    scores = score([[0, 1, 1, 2]], [[0, 1, 2, 2]])
    assert [(s.case, s.partition, s.label) for s in scores] == [("c", "test", "kidney"), ("c", "test", "tumour")]
    assert [(s["dsc"], s["iou"], s["precision"], s["recall"]) for s in scores] == [
        (pytest.approx(2 / 3), 0.5, 1.0, 0.5),
        (pytest.approx(2 / 3), 0.5, 0.5, 1.0),
    ]
    assert {(s["hd95"], s["asd"]) for s in scores} == {(None, None)}


def test_the_size_of_each_class_and_the_image_s_diagonal_are_stored_with_its_scores():
    scores = score([[0, 1, 1, 2]] * 3, [[0, 1, 2, 2]] * 3, spacing=(4 / 3, 0.75))
    assert [(s["size"], s["diagonal"]) for s in scores] == [(6, 5), (3, 5)]


@given(label_maps)
def test_no_distance_is_longer_than_the_diagonal(maps):
    for found in score(*maps, surface_distances=True):
        assert found["hd95"] <= found["diagonal"] or found["hd95"] == math.inf


def test_a_metric_that_nothing_is_registered_for_is_named():
    with pytest.raises(InputError, match=r"metric 'betti\(n=1\)' is not known here; a plug-in may be missing"):
        score([[0, 1]], [[0, 1]], chosen=["betti(n=1)"])


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        ([0, 0], [0, 0], (1, 1, 1, 1, 0, 0)),
        ([0, 0], [0, 1], (0, 0, 0, None, math.inf, math.inf)),
        ([0, 1], [0, 0], (0, 0, 0, 0, math.inf, math.inf)),
    ],
)
def test_rules_for_empty_masks(truth, prediction, expected):
    (found,) = score([truth] * 3, [prediction] * 3, ("background", "polyp"), surface_distances=True)
    assert (found["dsc"], found["iou"], found["precision"], found["recall"], found["hd95"], found["asd"]) == expected


@pytest.mark.parametrize(
    ("truth", "prediction", "words"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), r"case 'c' has shape \(2, 3\)"),
        (np.zeros((2, 3), np.float32), np.zeros((2, 3), np.uint8), "truth of case 'c' is float32"),
        (np.zeros((2, 3), np.uint8), np.full((2, 3), 7, np.uint8), "prediction of case 'c' has labels 7 to 7"),
        (np.full((2, 3), -1, np.int8), np.zeros((2, 3), np.uint8), "labels -1 to -1; they must be 0 to 2"),
    ],
)
def test_maps_that_cannot_be_scored_are_named(truth, prediction, words):
    with pytest.raises(InputError, match=words):
        masks.score_case(truth, prediction, CLASSES, partition="test", case="c")


def ball(shape, centre, radius, spacing):
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    return sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, spacing, strict=True)) <= radius**2


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (2.0, 1.0, 0.5)])
def test_distances_of_concentric_balls_are_the_difference_of_their_radii(spacing):
    shape = tuple(int(60 / s) + 1 for s in spacing)
    centre = [(n - 1) / 2 for n in shape]
    small, large = (ball(shape, centre, r, spacing) for r in (12.0, 20.0))
    hd95, asd = masks.surface_scores(small, large, spacing)
    assert hd95 == pytest.approx(8, abs=1.2 * max(spacing))
    assert asd == pytest.approx(8, abs=0.6 * max(spacing))


def test_the_average_distance_is_of_both_directions_and_not_the_larger_of_them():
    """A line, and the line again with a second one 10 pixels off: no way from the first to the second mask, and half of
    the way back is 10 pixels long."""
    line = np.zeros((30, 60), bool)
    line[8, 10:50] = True
    both = line.copy()
    both[18, 10:50] = True
    for one, other in ((line, both), (both, line)):
        hd95, asd = masks.surface_scores(one, other)
        assert asd == pytest.approx((0 + 10 / 2) / 2, abs=0.3)
        assert hd95 == pytest.approx(10, abs=1)


@settings(deadline=None, max_examples=15)
@given(hnp.arrays(bool, (2, 6, 7)), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_distances_are_symmetric_and_scale_with_the_spacing(pair, scale):
    """By powers of two, which no rounding touches: a percentile that falls between two distances may go either way."""
    first, second = pair
    unit = masks.surface_scores(first, second)
    assert masks.surface_scores(second, first) == pytest.approx(unit)
    scaled = masks.surface_scores(first, second, (scale, scale))
    assert scaled == pytest.approx(tuple(scale * d for d in unit))
    assert masks.surface_scores(first, first, (1.0, 2.0)) == (0.0, 0.0)


def test_a_new_metric_is_one_registration_and_is_scored_by_its_name():
    def volume(masks):
        return float(masks.marked.sum() - masks.true.sum())

    before = dict(METRICS)
    register(Metric("volume", "Volume", volume, low=-math.inf, high=math.inf))
    try:
        found = score([[0, 1, 1, 2]], [[0, 1, 2, 2]])
        register(Metric("wrong", "Wrong", lambda masks: 2.0))
        with pytest.raises(InputError, match=r"metric 'wrong' gives 2.0 for case 'c', expected a number in \[0, 1\]"):
            score([[0, 1]], [[0, 1]])
    finally:
        METRICS.replace(before)
    assert [s["volume"] for s in found] == [-1.0, 1.0]
