"""One metric of two masks of one class."""

import numpy as np

from trials.metrics import find
from workers.scoring.masks import Masks, Softmax


def value(name, true, marked, *, spacing=None, probability=None):
    """What the metric gives that is stored under `name`; `probability` is the softmax of the class."""
    true, marked = np.asarray(true, bool), np.asarray(marked, bool)
    softmax = None
    if probability is not None:
        given = np.asarray(probability, np.float32)
        softmax = Softmax(true.astype(np.uint8), np.stack([1 - given, given], axis=-1))
    both = int((true & marked).sum())
    counts = (both, int(marked.sum()) - both, int(true.sum()) - both)
    masks = Masks(true.astype(np.uint8), marked.astype(np.uint8), 1, spacing, *counts, softmax)
    return find(name).compute(masks)
