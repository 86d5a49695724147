"""Boundary loss: the prediction weighed with the signed distance to the truth's contour (Kervadec et al. 2019, 2021).

It is used beside a region loss, since alone it has a minimum at the empty prediction. Distances are in pixels (voxels)
and computed on the host by scipy for every batch, so that this loss can't be compiled with XLA and costs more than the
others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from workers.losses.region import generalised_dice


def boundary(truth: Any, prediction: Any, *, alpha: Any, smooth: Any, absent: str) -> Any:
    """(1−α)·generalised Dice + α·mean over pixels and rare classes of φ p (Kervadec et al. 2021).

    φ is the signed distance map of the truth, negative within it, 0 for a class that is absent.
    """
    rare = prediction[..., 1:]
    distance = tf.numpy_function(signed_distance, [truth[..., 1:]], prediction.dtype, stateful=False)
    distance = tf.stop_gradient(tf.ensure_shape(distance, rare.shape))
    contour = tf.reduce_mean(distance * rare)
    return (1.0 - alpha) * generalised_dice(truth, prediction, smooth=smooth, absent=absent) + alpha * contour


def signed_distance(truth: NDArray[Any]) -> NDArray[Any]:
    """Distance in pixels to the contour of each class, of shape (batch, spatial..., classes) and the truth's dtype.

    Outside it is the distance to the nearest pixel of the class; inside, 1 minus the distance to the nearest pixel
    that is not of it, so that a pixel of the contour has 0. A class without pixels, or without others, has 0
    everywhere, as in the authors' code.
    """
    distances = np.zeros_like(truth)
    for image in range(truth.shape[0]):
        for label in range(truth.shape[-1]):
            inside = truth[image, ..., label] > 0.5
            if inside.any() and not inside.all():
                signed = np.where(inside, 1.0 - distance_transform_edt(inside), distance_transform_edt(~inside))
                distances[image, ..., label] = signed
    return distances
