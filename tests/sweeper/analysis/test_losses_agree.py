"""Fig. 2's curves, against the losses that the trials are trained with."""

import numpy as np
import pytest

from sweeper.analysis.curves import DELTA, modified_focal_term, modified_tversky_term
from workers.losses import get_loss

pytest.importorskip("tensorflow", reason="the losses need TensorFlow, which is an optional dependency")

GAMMAS = (0.0, 0.1, 0.5, 0.9)


def value(name, parameters, truth, prediction):
    return float(get_loss(name, **parameters)(truth.astype("float64"), prediction.astype("float64")))


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("p", [0.05, 0.3, 0.7, 0.95])
def test_the_focal_curve_is_the_loss_of_a_rare_pixel(gamma, p):
    truth = np.zeros((1, 4, 4, 2))
    truth[..., 1] = 1
    prediction = np.stack([np.full((1, 4, 4), 1 - p), np.full((1, 4, 4), p)], axis=-1)
    parameters = {"lambda_": 1.0, "delta": DELTA, "gamma": gamma}
    assert value("unified_focal_sym", parameters, truth, prediction) == pytest.approx(
        float(modified_focal_term(p, gamma)), rel=1e-6
    )


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("p", [0.2, 0.6, 0.9])
def test_the_tversky_curve_is_the_loss_of_a_class(gamma, p):
    """One pixel of each class, both with probability p: both classes have one index, so that their mean is one term."""
    truth = np.array([[[[1.0, 0.0], [0.0, 1.0]]]])
    prediction = np.array([[[[p, 1 - p], [1 - p, p]]]])
    index = p / (p + DELTA * (1 - p) + (1 - DELTA) * (1 - p))
    parameters = {"lambda_": 0.0, "delta": DELTA, "gamma": gamma}
    assert value("unified_focal_sym", parameters, truth, prediction) == pytest.approx(
        float(modified_tversky_term(index, gamma)), rel=1e-5
    )


def test_curves_stay_finite_at_their_ends():
    ends = np.array([0.0, 1.0])
    for gamma in GAMMAS:
        assert np.isfinite(modified_focal_term(ends, gamma)).all()
        assert np.isfinite(modified_tversky_term(ends, gamma)).all()
