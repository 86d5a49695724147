"""Losses for thin structures, which look at skeletons: soft clDice and skeleton recall. Rare classes alone have one."""

from __future__ import annotations

import tensorflow as tf

from workers.losses.boundary import rare_classes
from workers.losses.distribution import weighted_mean
from workers.losses.maps import map_of_truth
from workers.losses.neighbours import dilated, eroded
from workers.losses.region import dice, foreground_dice, mean_of_classes
from workers.losses.skeletons import tubed_skeletons_of_one_hot
from workers.losses.sums import counts_and_entropy
from workers.tensors import Tensor


def cldice_dice(
    truth: Tensor, prediction: Tensor, *, alpha: Tensor, iterations: float, smooth: Tensor, absent: str,
    truth_map: Tensor = None, counted: Tensor = None,
) -> Tensor:  # fmt: skip
    """(1−α)·Dice + α·(1 − clDice) (Shit et al. 2021).

    clDice = 2 T S/(T + S), T = Σ s_p g/Σ s_p the share of the prediction's soft skeleton in the truth, S that of the
    truth's in the prediction; mean over rare classes. The truth's skeleton is `truth_map`, which training computes with
    the batch; where it is missing it is computed as the prediction's. Pixels that are not `counted` are to skeletons
    what lies outside the image.
    """
    rare, of_truth = rare_classes(prediction), truth[..., 1:]
    if counted is not None:
        counted = tf.broadcast_to(counted[..., tf.newaxis], tf.shape(rare))
    if truth_map is None:
        truth_map = soft_skeleton(of_truth, int(iterations), counted)
    true_skeleton = tf.stop_gradient(tf.ensure_shape(truth_map, rare.shape))
    skeleton = soft_skeleton(rare, int(iterations), counted)
    axes = list(range(1, rare.shape.rank - 1))
    precise = (tf.reduce_sum(skeleton * of_truth, axes) + smooth) / (tf.reduce_sum(skeleton, axes) + smooth)
    sensitive = (tf.reduce_sum(true_skeleton * rare, axes) + smooth) / (tf.reduce_sum(true_skeleton, axes) + smooth)
    present = tf.reduce_sum(of_truth, axes) > 0.5
    distance = mean_of_classes(1.0 - 2.0 * precise * sensitive / (precise + sensitive), present, absent)
    return (1.0 - alpha) * dice(truth, prediction, smooth=smooth, absent=absent) + alpha * tf.reduce_mean(distance)


def skeleton_recall(
    truth: Tensor, prediction: Tensor, *, weight: Tensor, smooth: Tensor, absent: str, background: str,
    truth_map: Tensor = None,
) -> Tensor:  # fmt: skip
    """Dice + cross entropy + w · (1 − Σ s p/Σ s), s the widened skeleton of the truth (Kirchhoff et al. 2024).

    `truth_map` is s, which training computes with the batch. A class that is absent has no skeleton, and no part.
    """
    rare = rare_classes(prediction)
    tube = map_of_truth(tubed_skeletons_of_one_hot, truth[..., 1:], truth_map, channels=rare.shape[-1])
    axes = list(range(1, rare.shape.rank - 1))
    length = tf.reduce_sum(tube, axes)
    missed = tf.reduce_sum(tube * (1.0 - rare), axes) / (length + smooth)
    recall = mean_of_classes(missed, length > 0.5, "skip")
    counts, entropy = counts_and_entropy(truth, prediction, "raw")
    region = foreground_dice(counts, smooth, absent, background)
    return region + weighted_mean(entropy, 1.0, prediction) + weight * tf.reduce_mean(recall)


def soft_skeleton(values: Tensor, iterations: int, counted: Tensor = None) -> Tensor:
    """What `workers.losses.skeletons.soft_skeleton` gives, on the device and with a gradient."""
    skeleton = tf.zeros_like(values)
    for step in range(iterations + 1):
        values = eroded(values, counted) if step else values
        lost = tf.nn.relu(values - dilated(eroded(values, counted), counted))
        skeleton += tf.nn.relu(lost - skeleton * lost)
    return skeleton
