"""Metrics of calibration: whether the softmax of a class is a probability.

They need the softmax, which is not stored: they are computed when a trial is evaluated, on the prepared grid (also
where the other metrics are on the source's own), within the field of view where one is asked for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workers.errors import InputError
from workers.scoring.masks import Mask, Masks


def ece(masks: Masks, *, bins: float) -> float:
    """Expected calibration error, in [0, 1], smaller is better; never undefined.

    The pixels of an image are put into bins of equal width by the softmax of the class. The error is the mean over the
    pixels of |mean softmax − share of the class| in their bin (Naeini et al. 2015; class by class as Kull et al. 2019).

    Args:
        masks: of one class in one image.
        bins: how many; 15 as in Guo et al. 2017.
    """
    probability, true = _softmax(masks)
    count = int(bins)
    places = np.minimum((probability * count).astype(np.int64), count - 1)
    expected = np.bincount(places, weights=probability, minlength=count)
    observed = np.bincount(places, weights=true, minlength=count)
    # Rounding of a softmax may add a hair to 1.
    return min(float(np.abs(expected - observed).sum() / probability.size), 1.0)


def brier(masks: Masks) -> float:
    """Brier score, in [0, 1], smaller is better; never undefined (Brier 1950).

    The mean over the image's pixels of (softmax of the class − truth)², the truth being 1 or 0.
    """
    probability, true = _softmax(masks)
    return min(float(np.mean((probability - true) ** 2)), 1.0)


def _softmax(masks: Masks) -> tuple[npt.NDArray[np.float64], Mask]:
    if masks.softmax is None:
        raise InputError("a metric of calibration needs the softmax, which is known only while a trial is evaluated")
    return masks.softmax.of(masks.index)
