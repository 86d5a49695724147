"""How γ suppresses and enhances (the paper's Fig. 2): the terms of the Unified Focal loss as curves, in plain numpy.

One class's term at a time, so that a page can draw them without TensorFlow; tests compare them with `workers.losses`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sweeper.analysis.intervals import Floats

CLIP = 1e-7
"""Probabilities are clipped to [1e-7, 1 − 1e-7], and 1 − mTI is at least this, as in the losses themselves."""

DELTA = 0.6
"""The paper's δ (section 3.2)."""


def modified_focal_term(p: npt.ArrayLike, gamma: float, delta: float = DELTA) -> Floats:
    """δ (1 − p)^γ (−log p): what one pixel of a rare class adds at probability p in [0, 1] for the true class.

    Equation 16 in the released code's form. γ = 0 is weighted cross entropy; γ > 0 suppresses confident pixels.
    """
    clipped = np.clip(np.asarray(p, dtype=float), CLIP, 1 - CLIP)
    term: Floats = delta * (1 - clipped) ** gamma * -np.log(clipped)
    return term


def modified_tversky_term(index: npt.ArrayLike, gamma: float) -> Floats:
    """(1 − mTI)^(1−γ): what one class adds at a modified Tversky index in [0, 1].

    Equation 17 in the released code's form. γ = 0 is the Tversky loss; γ > 0 enhances the loss of a class that is
    already segmented well.
    """
    term: Floats = np.maximum(1 - np.asarray(index, dtype=float), CLIP) ** (1 - gamma)
    return term
