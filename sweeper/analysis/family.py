"""Which loss is which special case of the unified family (the paper's Fig. 1), as a graph with exact parameters.

Every edge is an identity that a test evaluates with `workers.losses`: `parent` with `settings` equals
`scale` × `child` with `child_settings` plus `offset`, up to clipping and smoothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SpecialCase:
    """`parent` becomes `child` at `condition`, in words for people, and at `settings`, exactly."""

    parent: str
    child: str
    condition: str
    settings: Mapping[str, float]
    child_settings: Mapping[str, float] = field(default_factory=dict)
    scale: float = 1.0
    offset: float = 0.0


LEVELS: tuple[tuple[str, ...], ...] = (
    ("unified_focal_asym", "unified_focal_sym"),
    ("combo", "focal", "focal_tversky"),
    ("dice", "ce", "tversky"),
)
"""The losses from the most general to the most special."""

_GAMMA = 0.3
"""Any γ serves for the edges that hold at every γ; the tests use this one."""

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
    SpecialCase("focal", "ce", "γ = 0, α = 1", {"alpha": 1.0, "gamma": 0.0}),
    SpecialCase("combo", "ce", "α = 1, β = ½", {"alpha": 1.0, "beta": 0.5}, scale=0.5),
    SpecialCase("combo", "dice", "α = 0", {"alpha": 0.0, "beta": 0.5}, offset=-1.0),
    SpecialCase("focal_tversky", "tversky", "γ = 1", {"alpha": 0.3, "beta": 0.7, "gamma": 1.0},
                {"alpha": 0.3, "beta": 0.7}),
    SpecialCase("tversky", "dice", "α = β = ½", {"alpha": 0.5, "beta": 0.5}),
)  # fmt: skip
