"""The loss functions under study: a registry that needs no TensorFlow, and the functions, imported when one is called.

Every loss takes truth, one-hot or soft, and softmax probabilities, channels last, `(batch, h, w, classes)` or
`(batch, d, h, w, classes)`, class 0 the background, and returns a scalar. A new loss is one function and one line in
`workers.losses.catalogue`; a user's own loss is the same line in a plug-in file (`workers.plugins`).
"""

from trials.registry import imported
from workers.losses import catalogue as _catalogue  # noqa: F401 (registers the built-in losses)
from workers.losses.parameters import Parameter
from workers.losses.registry import (
    LossDefinition,
    definition,
    get_loss,
    graph_parameters,
    names,
    register,
    resolve_parameters,
    spec_parameters,
)

__all__ = [
    "LossDefinition",
    "Parameter",
    "definition",
    "get_loss",
    "graph_parameters",
    "imported",
    "names",
    "register",
    "resolve_parameters",
    "spec_parameters",
]
