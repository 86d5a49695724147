"""The built-in losses beyond the paper's grid: the rest of Ma et al. 2021, and what came later. One entry each.

Defaults are their sources' where these give one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

from trials.spec import ParameterValue
from workers.errors import ParameterError
from workers.losses.pairs import check_metric
from workers.losses.parameters import Parameter
from workers.losses.registry import LossDefinition, Schedule

_ABSENT = Parameter(
    "absent", "keep", choices=("keep", "skip"), doc="Whether a class without pixels counts in an image's mean."
)
_SMOOTH = Parameter("smooth", 1e-6, "(0, inf)", doc="Added above and below a quotient of soft sums.")
_BACKGROUND = Parameter(
    "background", "skip", choices=("keep", "skip"), doc="Whether the background has a part in the Dice loss."
)
_K = Parameter("k", 10.0, "(0, 100]", graph=False, doc="Percent of an image's pixels, the worst ones.")
_EXPONENT = Parameter("exponent", 2.0, "[0, inf)", doc="How strongly distant errors weigh.")
_SIDES = Parameter(
    "sides", "one", choices=("one", "both"), doc="Distances to the truth's contour alone, or to the prediction's, too."
)

RAMP = Parameter("ramp", 0.0, "[0, inf)", graph=False, doc="Epochs in which the weight is reached.", added=True)


def started(name: str, default: float) -> Parameter:
    """The value of a weight in the first epoch."""
    return Parameter(f"{name}_start", default, "[0, 1]", graph=False, doc=f"{name} in the first epoch.", added=True)


def _whole_number(name: str, loss: str, values: Mapping[str, ParameterValue]) -> None:
    if float(values[name]) % 1 != 0:  # type: ignore[arg-type]
        raise ParameterError(f"loss {loss!r}: {name} = {values[name]} is a number of times; give a whole one")


def _metric(values: Mapping[str, ParameterValue]) -> None:
    distances = values["distances"]
    if not isinstance(distances, int):
        check_metric("loss 'generalised_wasserstein_dice': distances", distances)


FURTHER = (
    LossDefinition(
        "weighted_ce",
        "workers.losses.distribution:weighted_cross_entropy",
        (
            Parameter("weight", 1.0, "[0, inf)", per_class=True, doc="Weight of each class, or one for all."),
            Parameter(
                "frequency", "inverse", choices=("inverse", "none"), doc="Whether it is divided by a class's share."
            ),
        ),
        "distribution",
        "Cross entropy with class weights, Ronneberger et al. 2015.",
    ),
    LossDefinition(
        "topk",
        "workers.losses.distribution:top_k_cross_entropy",
        (_K,),
        "distribution",
        "Cross entropy of the worst k percent of pixels, Wu et al. 2016.",
    ),
    LossDefinition(
        "distance_penalised_ce",
        "workers.losses.distribution:distance_penalised_cross_entropy",
        (Parameter("weight", 1.0, "[0, inf)", doc="Weight of the nearness to a contour."),),
        "distribution",
        "Cross entropy that weighs pixels near a contour more, Caliva et al. 2019.",
        truth_map="workers.losses.distances:contour_nearness",
    ),
    LossDefinition(
        "label_smoothing_ce",
        "workers.losses.distribution:label_smoothing",
        (Parameter("epsilon", 0.1, "[0, 1)", doc="Share of the truth that is spread over all classes."),),
        "distribution",
        "Cross entropy with label smoothing, Szegedy et al. 2016.",
    ),
    LossDefinition(
        "iou", "workers.losses.region:iou", (_SMOOTH, _ABSENT), "region", "Soft IoU (Jaccard) loss, Rahman & Wang 2016."
    ),
    LossDefinition(
        "squared_dice",
        "workers.losses.region:squared_dice",
        (_SMOOTH, _ABSENT),
        "region",
        "Dice loss with squared denominators, Milletari et al. 2016.",
    ),
    LossDefinition(
        "batch_dice",
        "workers.losses.region:batch_dice",
        (_BACKGROUND, _SMOOTH, _ABSENT),
        "region",
        "Dice loss of the counts of a whole batch, Isensee et al. 2021.",
        whole=True,
    ),
    LossDefinition(
        "sensitivity_specificity",
        "workers.losses.region:sensitivity_specificity",
        (Parameter("weight", 0.05, "[0, 1]", doc="Weight of the sensitivity."), _SMOOTH, _ABSENT),
        "region",
        "Sensitivity–specificity loss, Brosch et al. 2015.",
    ),
    LossDefinition(
        "penalised_generalised_dice",
        "workers.losses.region:penalised_generalised_dice",
        (Parameter("k", 2.5, "[0, inf)", doc="How much nearly right images are played down."), _SMOOTH, _ABSENT),
        "region",
        "Penalised generalised Dice loss, Yang et al. 2019.",
    ),
    LossDefinition(
        "lovasz_softmax",
        "workers.losses.lovasz:lovasz_softmax",
        (Parameter("absent", "skip", choices=("keep", "skip"), doc=_ABSENT.doc),),
        "region",
        "Lovász-softmax loss, Berman et al. 2018.",
    ),
    LossDefinition(
        "generalised_wasserstein_dice",
        "workers.losses.wasserstein:generalised_wasserstein_dice",
        (
            Parameter(
                "distances", 1.0, "(0, inf)", per_pair=True, graph=False, doc="How far each two classes are apart."
            ),
            _SMOOTH,
        ),
        "region",
        "Generalised Wasserstein Dice loss, Fidon et al. 2017.",
        check=_metric,
    ),
    LossDefinition(
        "hausdorff",
        "workers.losses.hausdorff:hausdorff",
        (_EXPONENT, _SIDES),
        "region",
        "Hausdorff distance loss with distance maps, Karimi & Salcudean 2019.",
        truth_map="workers.losses.distances:contour_distances",
        whole=True,
    ),
    LossDefinition(
        "hausdorff_erosion",
        "workers.losses.hausdorff:hausdorff_erosion",
        (
            _EXPONENT,
            Parameter("erosions", 10.0, "[0, 100]", graph=False, doc="How often the errors are eroded."),
        ),
        "region",
        "Hausdorff distance loss with erosions, Karimi & Salcudean 2019.",
        check=partial(_whole_number, "erosions", "hausdorff_erosion"),
        whole=True,
    ),
    LossDefinition(
        "exponential_logarithmic",
        "workers.losses.compound:exponential_logarithmic",
        (
            Parameter("gamma", 0.3, "(0, inf)", doc="The exponent of both parts."),
            Parameter("dice_weight", 0.8, "[0, inf)", doc="Weight of the Dice part."),
            Parameter("entropy_weight", 0.2, "[0, inf)", doc="Weight of the cross-entropy part."),
            _SMOOTH,
            _ABSENT,
        ),
        "compound",
        "Exponential logarithmic loss, Wong et al. 2018.",
    ),
    LossDefinition(
        "dice_ce",
        "workers.losses.compound:dice_cross_entropy",
        (Parameter("weight", 1.0, "[0, inf)", doc="Weight of the cross entropy."), _BACKGROUND, _SMOOTH, _ABSENT),
        "compound",
        "Dice + cross entropy, Isensee et al. 2021 (nnU-Net).",
    ),
    LossDefinition(
        "dice_boundary",
        "workers.losses.boundary:dice_boundary",
        (
            Parameter("alpha", 0.01, "[0, 1]", doc="Weight of the boundary part; 1 − α that of the Dice part."),
            started("alpha", 0.01),
            RAMP,
            _SMOOTH,
            _ABSENT,
        ),
        "compound",
        "Dice with the boundary loss, Ma et al. 2021.",
        truth_map="workers.losses.distances:signed_distances",
        lowest=-math.inf,
        schedules=(Schedule("alpha", "alpha_start", "ramp"),),
    ),
    LossDefinition(
        "dice_hausdorff",
        "workers.losses.hausdorff:dice_hausdorff",
        (
            Parameter("weight", 0.01, "[0, inf)", doc="Weight of the Hausdorff part beside the Dice part."),
            Parameter("weight_start", 0.01, "[0, inf)", graph=False, doc="weight in the first epoch.", added=True),
            RAMP,
            _EXPONENT,
            _SIDES,
            _SMOOTH,
            _ABSENT,
        ),
        "compound",
        "Dice with the Hausdorff distance loss, Ma et al. 2021.",
        truth_map="workers.losses.distances:contour_distances",
        whole=True,
        schedules=(Schedule("weight", "weight_start", "ramp"),),
    ),
    LossDefinition(
        "cldice_dice",
        "workers.losses.connections:cldice_dice",
        (
            Parameter("alpha", 0.5, "[0, 1]", doc="Weight of the clDice part; 1 − α that of the Dice part."),
            Parameter(
                "iterations", 3.0, "[0, 100]", graph=False, doc="Erosions: as many as the thickest structure's radius."
            ),
            _SMOOTH,
            _ABSENT,
        ),
        "compound",
        "Dice with soft clDice, Shit et al. 2021.",
        check=partial(_whole_number, "iterations", "cldice_dice"),
        truth_map="workers.losses.skeletons:soft_skeletons",
        truth_map_parameters=("iterations",),
        whole=True,
        takes_counted=True,
    ),
    LossDefinition(
        "skeleton_recall",
        "workers.losses.connections:skeleton_recall",
        (Parameter("weight", 1.0, "[0, inf)", doc="Weight of the skeleton's recall."), _BACKGROUND, _SMOOTH, _ABSENT),
        "compound",
        "Dice + cross entropy with skeleton recall, Kirchhoff et al. 2024.",
        truth_map="workers.losses.skeletons:tubed_skeletons",
    ),
)
