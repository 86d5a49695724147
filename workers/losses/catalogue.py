"""The built-in losses: one entry each. The paper's in the order of its table, then those that it names as open, then
those of `workers.losses.catalogue_further`.

Defaults of the paper's losses are the paper's (section 3.2, `hybrid_focal` those of its parts); the others' are their
sources' where these give one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from trials.spec import ParameterValue
from workers.errors import ParameterError
from workers.losses.catalogue_further import FURTHER, RAMP, started
from workers.losses.notes import NOTES
from workers.losses.parameters import Parameter
from workers.losses.registry import LossDefinition, Schedule, register


def _tversky_weights(values: Mapping[str, ParameterValue]) -> None:
    for alpha, beta in (("alpha", "beta"), ("tversky_alpha", "tversky_beta")):
        if beta in values and values[alpha] == 0.0 and values[beta] == 0.0:
            raise ParameterError(f"{alpha} = {beta} = 0 weighs no error at all; give at least one of them a value > 0")


_ABSENT = Parameter(
    "absent", "keep", choices=("keep", "skip"), doc="Whether a class without pixels counts in an image's mean."
)
_CONVENTION = Parameter(
    "convention", "code", choices=("code", "published"), doc="The released code's form, or the printed formulas."
)
_SMOOTH = Parameter("smooth", 1e-6, "(0, inf)", doc="Added above and below a quotient of soft sums.")
_SMOOTH_UNIFIED = Parameter("smooth", 1e-7, "(0, inf)", doc=_SMOOTH.doc)
_ALPHA = Parameter("alpha", 0.25, "[0, inf)", per_class=True, doc="Weight of the focal loss, or one per class.")
_GAMMA = Parameter("gamma", 2.0, "[0, inf)", doc="How strongly easy pixels are suppressed.")
_FALSE_POSITIVES = Parameter("alpha", 0.3, "[0, inf)", doc="Weight of false positives.")
_FALSE_NEGATIVES = Parameter("beta", 0.7, "[0, inf)", doc="Weight of false negatives.")
_ENHANCEMENT = Parameter("gamma", 4 / 3, "(0, inf)", doc="The exponent is 1/γ; γ > 1 enhances small errors.")
_UNIFIED = (
    Parameter("lambda_", 0.5, "[0, 1]", doc="Weight of the focal part; 1 − λ that of the Tversky part."),
    Parameter("delta", 0.6, "(0, 1)", per_class=True, doc="Weight of rare classes and of false negatives."),
    Parameter("gamma", 0.5, "[0, 1)", per_class=True, doc="Suppression and enhancement."),
    _SMOOTH_UNIFIED,
    _CONVENTION,
    _ABSENT,
)

_BUILT_IN = (
    LossDefinition("ce", "workers.losses.distribution:cross_entropy", (), "distribution", "Cross entropy.", paper=True),
    LossDefinition(
        "focal",
        "workers.losses.distribution:focal",
        (_ALPHA, _GAMMA),
        "distribution",
        "Focal loss, Lin et al. 2017.",
        paper=True,
    ),
    LossDefinition("dice", "workers.losses.region:dice", (_SMOOTH, _ABSENT), "region", "Dice loss.", paper=True),
    LossDefinition(
        "tversky",
        "workers.losses.region:tversky",
        (_FALSE_POSITIVES, _FALSE_NEGATIVES, _SMOOTH, _ABSENT),
        "region",
        "Tversky loss, Salehi et al. 2017.",
        paper=True,
        check=_tversky_weights,
    ),
    LossDefinition(
        "focal_tversky",
        "workers.losses.region:focal_tversky",
        (_FALSE_POSITIVES, _FALSE_NEGATIVES, _ENHANCEMENT, _SMOOTH, _ABSENT),
        "region",
        "Focal Tversky loss, Abraham & Khan 2019.",
        paper=True,
        check=_tversky_weights,
    ),
    LossDefinition(
        "combo",
        "workers.losses.compound:combo",
        (
            Parameter("alpha", 0.5, "[0, 1]", doc="Weight of the cross entropy; 1 − α that of the Dice index."),
            Parameter("beta", 0.5, "[0, 1]", doc="Weight of rare classes; 1 − β that of the background."),
            _SMOOTH,
            _ABSENT,
        ),
        "compound",
        "Combo loss, Taghanaki et al. 2019.",
        paper=True,
        lowest=-1.0,
    ),
    LossDefinition(
        "hybrid_focal",
        "workers.losses.compound:hybrid_focal",
        (
            Parameter("lambda_", 0.5, "[0, 1]", doc="Weight of the focal part."),
            _ALPHA,
            _GAMMA,
            Parameter("tversky_alpha", 0.3, "[0, inf)", doc=_FALSE_POSITIVES.doc),
            Parameter("tversky_beta", 0.7, "[0, inf)", doc=_FALSE_NEGATIVES.doc),
            Parameter("tversky_gamma", 4 / 3, "(0, inf)", doc=_ENHANCEMENT.doc),
            _SMOOTH,
            _ABSENT,
        ),
        "compound",
        "Hybrid Focal loss, Yeung et al. 2021.",
        paper=True,
        check=_tversky_weights,
    ),
    LossDefinition(
        "unified_focal_sym",
        "workers.losses.unified:symmetric",
        _UNIFIED,
        "compound",
        "Unified Focal loss, symmetric, Yeung et al. 2022.",
        paper=True,
    ),
    LossDefinition(
        "unified_focal_asym",
        "workers.losses.unified:asymmetric",
        _UNIFIED,
        "compound",
        "Unified Focal loss, asymmetric, Yeung et al. 2022.",
        paper=True,
    ),
    LossDefinition(
        "dice_focal",
        "workers.losses.compound:dice_focal",
        (
            Parameter("lambda_", 0.5, "[0, inf)", doc="Weight of the focal part beside the Dice part."),
            Parameter("alpha", 1.0, "[0, inf)", per_class=True, doc=_ALPHA.doc),
            _GAMMA,
            _SMOOTH,
            _ABSENT,
        ),
        "compound",
        "Dice + λ·focal, Zhu et al. 2019.",
    ),
    LossDefinition(
        "asymmetric_similarity",
        "workers.losses.region:asymmetric_similarity",
        (Parameter("beta", 1.5, "(0, inf)", doc="β > 1 weighs false negatives more."), _SMOOTH, _ABSENT),
        "region",
        "Asymmetric similarity loss 1 − F_β, Hashemi et al. 2018.",
    ),
    LossDefinition(
        "generalised_dice",
        "workers.losses.region:generalised_dice",
        (_SMOOTH, _ABSENT),
        "region",
        "Generalised Dice loss, Sudre et al. 2017.",
    ),
    LossDefinition(
        "log_cosh_dice",
        "workers.losses.region:log_cosh_dice",
        (_SMOOTH, _ABSENT),
        "region",
        "Log-cosh Dice loss, Jadon 2020.",
    ),
    LossDefinition(
        "dice_topk",
        "workers.losses.compound:dice_topk",
        (
            Parameter("k", 10.0, "(0, 100]", graph=False, doc="Percent of an image's pixels, the worst ones."),
            _SMOOTH,
            _ABSENT,
        ),
        "compound",
        "Dice + cross entropy of the worst k percent, Ma et al. 2021.",
    ),
    LossDefinition(
        "boundary",
        "workers.losses.boundary:boundary",
        (
            Parameter("alpha", 0.01, "[0, 1]", doc="Weight of the boundary part beside generalised Dice."),
            _SMOOTH,
            _ABSENT,
            started("alpha", 0.01),
            RAMP,
        ),
        "compound",
        "Boundary loss beside generalised Dice, Kervadec et al. 2021.",
        truth_map="workers.losses.distances:signed_distances",
        lowest=-math.inf,
        schedules=(Schedule("alpha", "alpha_start", "ramp"),),
    ),
)

for _line in (*_BUILT_IN, *FURTHER):
    _notes = NOTES.get(_line.name)  # an entry may say them itself
    if _notes is not None:
        _line = replace(_line, equation=_notes.equation, reference=_notes.reference, use=_notes.use, traps=_notes.traps)
    register(_line)
