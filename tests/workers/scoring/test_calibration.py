"""Calibration against scikit-learn and a loop over the bins."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.workers.scoring.one_class import value
from trials.metrics import METRICS
from workers.errors import InputError
from workers.scoring.masks import Softmax, score_case

truths = hnp.arrays(bool, (5, 6))
probabilities = hnp.arrays(np.float32, (5, 6), elements=st.floats(0, 1, width=32))


def calibrated(name, true, probability):
    return value(name, true, probability > 0.5, probability=probability)


@settings(max_examples=20)
@given(truths, probabilities)
def test_brier_agrees_with_scikit_learn(true, probability):
    expected = sklearn.metrics.brier_score_loss(true.ravel(), probability.ravel().astype(float), labels=[0, 1])
    assert calibrated("brier", true, probability) == pytest.approx(expected)


@settings(max_examples=20)
@given(truths, probabilities, st.sampled_from([1, 4, 15]))
def test_ece_agrees_with_a_loop_over_the_bins(true, probability, bins):
    expected = 0.0
    for lower in range(bins):
        last = lower == bins - 1
        inside = (probability * np.float64(bins) >= lower) & ((probability * np.float64(bins) < lower + 1) | last)
        if inside.any():
            gap = probability[inside].mean(dtype=float) - true[inside].mean()
            expected += abs(gap) * inside.mean()
    assert calibrated(f"ece(bins={bins})" if bins != 15 else "ece", true, probability) == pytest.approx(expected)


def test_calibration_at_its_best_and_its_worst():
    true = np.arange(20).reshape(4, 5) % 2 == 0
    right, wrong = true.astype(np.float32), 1 - true.astype(np.float32)
    for name in ("ece", "brier"):
        assert (calibrated(name, true, right), calibrated(name, true, wrong)) == (0, 1)
    # 0.5 everywhere, of which half is true: calibrated, though it says nothing.
    even = np.full((4, 5), 0.5, np.float32)
    assert (calibrated("ece", true, even), calibrated("brier", true, even)) == (0, 0.25)
    assert not METRICS["ece"].higher_is_better
    assert not METRICS["brier"].higher_is_better


def test_calibration_counts_the_field_of_view_alone():
    true = np.array([[1, 1, 0, 0]], np.uint8)
    right = np.array([[1.0, 1.0, 1.0, 1.0]])
    softmax = Softmax(true, np.stack([1 - right, right], axis=-1), inside=np.array([[1, 1, 0, 0]], bool))
    (found,) = score_case(true, true, ("b", "vessel"), partition="test", case="c", chosen=["brier"], softmax=softmax)
    assert found["brier"] == 0


def test_calibration_is_left_out_where_only_masks_are_known():
    true = np.array([[1, 0]], np.uint8)
    (found,) = score_case(true, true, ("b", "vessel"), partition="test", case="c", chosen=["brier", "nsd"])
    assert "brier" not in found.values
    assert found["nsd"] == 1
    with pytest.raises(InputError, match="needs the softmax"):
        value("brier", true, true)
