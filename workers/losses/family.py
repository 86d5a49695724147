"""Which loss is which special or limiting case of another (the paper's Fig. 1, and beyond). Pure data.

Every arrow is an identity that a test evaluates: `parent` with `settings` equals `scale` × `child` with
`child_settings` plus `offset`, up to clipping and smoothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Setting = float | str | tuple[float, float]
"""A number, a word, or the background's number and that of every other class."""


@dataclass(frozen=True, slots=True)
class SpecialCase:
    """`parent` becomes `child` at `condition`, in words for people, and at `settings`, exactly.

    `where` is what it holds for: any prediction; one that is 0 or 1 everywhere, as a sure network's is in the limit;
    or a single image of two classes.
    """

    parent: str
    child: str
    condition: str
    settings: Mapping[str, Setting]
    child_settings: Mapping[str, Setting] = field(default_factory=dict)
    scale: float = 1.0
    offset: float = 0.0
    where: Literal["anywhere", "sure", "one image of two classes"] = "anywhere"


_GAMMA = 0.3
"""Any γ serves for the arrows that hold at every γ; the tests use this one."""

_KEEP = {"background": "keep"}

SPECIAL_CASES: tuple[SpecialCase, ...] = (
    SpecialCase("unified_focal_asym", "combo", "γ = 0, δ = ½",
                {"lambda_": 0.5, "delta": 0.5, "gamma": 0.0}, {"alpha": 0.5, "beta": 0.5}, offset=0.5),
    SpecialCase("unified_focal_sym", "combo", "γ = 0, δ = ½",
                {"lambda_": 0.5, "delta": 0.5, "gamma": 0.0}, {"alpha": 0.5, "beta": 0.5}, offset=0.5),
    SpecialCase("unified_focal_sym", "focal", "λ = 1, δ = ½",
                {"lambda_": 1.0, "delta": 0.5, "gamma": _GAMMA}, {"alpha": 0.5, "gamma": _GAMMA}),
    SpecialCase("unified_focal_sym", "focal_tversky", "λ = 0",
                {"lambda_": 0.0, "delta": 0.7, "gamma": _GAMMA},
                {"alpha": 0.3, "beta": 0.7, "gamma": 1 / (1 - _GAMMA)}),
    SpecialCase("hybrid_focal", "unified_focal_sym", "α, β by δ",
                {"lambda_": 0.4, "alpha": (0.3, 0.7), "gamma": _GAMMA, "tversky_alpha": 0.3, "tversky_beta": 0.7,
                 "tversky_gamma": 1 / (1 - _GAMMA)}, {"lambda_": 0.4, "delta": 0.7, "gamma": _GAMMA}),
    SpecialCase("focal", "ce", "γ = 0, α = 1", {"alpha": 1.0, "gamma": 0.0}),
    SpecialCase("combo", "ce", "α = 1, β = ½", {"alpha": 1.0, "beta": 0.5}, scale=0.5),
    SpecialCase("combo", "dice", "α = 0", {"alpha": 0.0, "beta": 0.5}, offset=-1.0),
    SpecialCase("focal_tversky", "tversky", "γ = 1", {"alpha": 0.3, "beta": 0.7, "gamma": 1.0},
                {"alpha": 0.3, "beta": 0.7}),
    SpecialCase("tversky", "dice", "α = β = ½", {"alpha": 0.5, "beta": 0.5}),
    SpecialCase("tversky", "iou", "α = β = 1", {"alpha": 1.0, "beta": 1.0}),
    SpecialCase("tversky", "asymmetric_similarity", "α + β = 1", {"alpha": 0.2, "beta": 0.8}, {"beta": 2.0}),
    SpecialCase("asymmetric_similarity", "dice", "β = 1", {"beta": 1.0}),
    SpecialCase("weighted_ce", "ce", "w = 1", {"weight": 1.0, "frequency": "none"}),
    SpecialCase("topk", "ce", "k = 100", {"k": 100.0}),
    SpecialCase("label_smoothing_ce", "ce", "ε = 0", {"epsilon": 0.0}),
    SpecialCase("distance_penalised_ce", "ce", "w = 0", {"weight": 0.0}),
    SpecialCase("dice_topk", "dice_ce", "k = 100", {"k": 100.0}, _KEEP),
    SpecialCase("dice_focal", "dice_ce", "γ = 0", {"alpha": 1.0, "gamma": 0.0, "lambda_": 0.7},
                {**_KEEP, "weight": 0.7}),
    SpecialCase("skeleton_recall", "dice_ce", "w = 0", {"weight": 0.0}),
    SpecialCase("dice_ce", "dice", "w = 0", {**_KEEP, "weight": 0.0}),
    SpecialCase("dice_boundary", "dice", "α = 0", {"alpha": 0.0}),
    SpecialCase("dice_hausdorff", "dice", "w = 0", {"weight": 0.0}),
    SpecialCase("cldice_dice", "dice", "α = 0", {"alpha": 0.0}),
    SpecialCase("boundary", "generalised_dice", "α = 0", {"alpha": 0.0}),
    SpecialCase("penalised_generalised_dice", "generalised_dice", "k = 0", {"k": 0.0}),
    SpecialCase("hausdorff", "hausdorff_erosion", "α = 0", {"exponent": 0.0}, {"erosions": 0.0}),
    SpecialCase("squared_dice", "dice", "p → 0 or 1", {"absent": "skip"}, {"absent": "skip"}, where="sure"),
    SpecialCase("lovasz_softmax", "iou", "p → 0 or 1", {"absent": "skip"}, {"absent": "skip"}, where="sure"),
    SpecialCase("batch_dice", "dice", "one image", _KEEP, where="one image of two classes"),
    SpecialCase("generalised_wasserstein_dice", "batch_dice", "one image, 2 classes", {"distances": 1.0},
                where="one image of two classes"),
)  # fmt: skip
