"""A loss of one's own: the power Jaccard loss (Duque-Arias et al. 2021).

    sweeper launch --grid my_grid.toml --plugin docs/examples/jaccard_loss.py

after which a grid may name the loss `power_jaccard` like a built-in one, with its parameters `power` and `smooth`.
"""

import tensorflow as tf

from workers.losses import LossDefinition, Parameter, register


def power_jaccard(truth, prediction, *, power, smooth):
    """1 − (tp + s)/(Σ g^power + Σ p^power − tp + s), mean over classes and batch.

    `truth` and `prediction` have one shape (batch, spatial..., classes) and one dtype; `power` and `smooth` come as
    scalar tensors of it, so that another value needs no new trace.
    """
    axes = list(range(1, prediction.shape.rank - 1))
    overlap = tf.reduce_sum(truth * prediction, axes)
    total = tf.reduce_sum(truth + tf.maximum(prediction, 1e-7) ** power, axes)
    return tf.reduce_mean(1.0 - (overlap + smooth) / (total - overlap + smooth))


register(
    LossDefinition(
        name="power_jaccard",
        function=power_jaccard,
        parameters=(
            Parameter("power", 2.0, "[1, 4]", doc="Power of the probabilities in the union."),
            Parameter("smooth", 1e-6, "(0, inf)"),
        ),
        kind="region",
        doc="Power Jaccard loss, Duque-Arias et al. 2021.",
    )
)
