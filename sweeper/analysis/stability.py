"""How much γ matters (the paper's Fig. 3), as curves and as numbers.

For each data set and each loss that ran with two or more γ: DSC against γ, the reference lines of the other losses, and
figures that say how flat the curve is and whether it lies above the best baseline.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sweeper.analysis.intervals import t_half_width
from sweeper.analysis.rank_tests import signed_rank
from sweeper.analysis.selection import RECOMMENDED_GAMMA, UNIFIED, foreground_dsc
from sweeper.analysis.significance import ALPHA, holm

CURVE_COLUMNS = ["dataset", "variant", "loss", "gamma", "dsc", "half_width", "repeats_half_width", "n", "repeats"]
STABILITY_COLUMNS = [
    "dataset", "variant", "loss", "gammas", "range", "sd", "slope", "best_gamma", "worst_gamma", "baseline",
    "baseline_dsc", "share_above_baseline", "share_significantly_above", "p_best_vs_recommended",
    "best_differs_from_recommended", "n", "note",
]  # fmt: skip

_FIGURES = [
    "range", "sd", "slope", "best_gamma", "worst_gamma", "baseline_dsc", "share_above_baseline",
    "share_significantly_above", "p_best_vs_recommended",
]  # fmt: skip


def gamma_curves(images: pd.DataFrame, per_trial: pd.DataFrame) -> pd.DataFrame:
    """Mean test DSC (over foreground classes and images) of each data set, variant and γ, with its 95% intervals.

    Args:
        images: `image_scores` of every γ.
        per_trial: `trial_scores` of every γ.

    Returns:
        `CURVE_COLUMNS`: `half_width` over images, `repeats_half_width` over the repeats' means (NaN for one repeat).
        A loss with a single γ, or none, is a row too: a reference line.
    """
    keys = ["dataset", "variant", "loss", "gamma"]
    over_images = foreground_dsc(images).groupby(keys, dropna=False, observed=True)["dsc"]
    curves = over_images.agg(dsc="mean", half_width=lambda v: t_half_width(v.dropna().to_numpy(float)), n="count")
    by_repeat = per_trial.groupby([*keys, "repeat"], dropna=False, observed=True)["dsc"].mean()
    over_repeats = by_repeat.groupby(keys, dropna=False, observed=True)
    curves["repeats_half_width"] = over_repeats.agg(lambda v: t_half_width(v.dropna().to_numpy(float)))
    curves["repeats"] = over_repeats.size()
    return curves.reset_index()[CURVE_COLUMNS]


def stability(images: pd.DataFrame, curves: pd.DataFrame, selection: pd.DataFrame) -> pd.DataFrame:
    """One row per data set and variant that ran with two or more γ.

    `range`, `sd` (over the γ, n − 1) and `slope` (least squares, DSC per unit of γ) are of the mean test DSC.
    `baseline` is the loss outside the unified family with the highest validation DSC (never chosen on test).
    `share_above_baseline` is the share of the γ whose mean test DSC exceeds the baseline's;
    `share_significantly_above` the share where the signed-rank test on the same images agrees (p < 0.05 after Holm over
    the variant's γ). `p_best_vs_recommended` compares the γ of the highest test DSC with 0.5 on the same images,
    corrected by Holm over all other γ, since the best one was picked from them. NaN and a `note` where something is
    not there to compare with.
    """
    per_image = foreground_dsc(images)
    rows = []
    for (dataset, variant, loss), curve in curves.groupby(["dataset", "variant", "loss"], sort=True, observed=True):
        curve = curve.dropna(subset=["gamma", "dsc"]).sort_values("gamma")
        if len(curve) < 2:
            continue
        own = per_image[(per_image["dataset"] == dataset) & (per_image["variant"] == variant)]
        table = own.pivot(index="case", columns="gamma", values="dsc")
        row: dict[str, object] = {"dataset": dataset, "variant": variant, "loss": loss, **_flatness(curve)}
        row["n"] = len(table)
        notes = []
        baseline = _baseline(selection, str(dataset), str(variant))
        if baseline is None:
            notes.append("no baseline loss has finished")
        else:
            other = per_image.merge(baseline.to_frame().T[["dataset", "variant"]], on=["dataset", "variant"])
            gamma = baseline["gamma"]
            other = other[other["gamma"].isna() if pd.isna(gamma) else other["gamma"] == gamma]
            row |= _against_baseline(table, other.set_index("case")["dsc"])
            row["baseline"] = baseline["variant"]
        row |= (recommended := _against_recommended(table, float(str(row["best_gamma"]))))
        if not recommended:
            notes.append(f"γ = {RECOMMENDED_GAMMA:g} did not run")
        row["note"] = "; ".join(notes)
        rows.append(row)
    figures = dict.fromkeys(_FIGURES, float)
    return pd.DataFrame(rows, columns=STABILITY_COLUMNS).astype(figures)


def _flatness(curve: pd.DataFrame) -> dict[str, object]:
    gamma, dsc = curve["gamma"].to_numpy(float), curve["dsc"].to_numpy(float)
    return {
        "gammas": gamma.size,
        "range": float(np.ptp(dsc)),
        "sd": float(dsc.std(ddof=1)),
        "slope": float(np.polynomial.polynomial.polyfit(gamma, dsc, 1)[1]),
        "best_gamma": float(gamma[dsc.argmax()]),
        "worst_gamma": float(gamma[dsc.argmin()]),
    }


def _baseline(selection: pd.DataFrame, dataset: str, variant: str) -> pd.Series | None:
    others = selection[
        (selection["dataset"] == dataset)
        & ~selection["loss"].isin(UNIFIED)
        & (selection["variant"] != variant)
        & selection["val_dsc"].notna()
    ]
    return None if others.empty else others.sort_values("val_dsc", ascending=False, kind="stable").iloc[0]


def _against_baseline(table: pd.DataFrame, baseline: pd.Series) -> dict[str, object]:
    cases = table.index.union(baseline.index)
    other = baseline.reindex(cases).to_numpy(float)
    scores = table.reindex(cases).to_numpy(float)
    tests = [signed_rank(column, other) for column in scores.T]
    corrected = holm(np.array([t.p for t in tests]))
    mean = float(np.nanmean(other))
    better = np.nanmean(scores, axis=0) > mean
    positive = np.array([t.effect for t in tests]) > 0
    return {
        "baseline_dsc": mean,
        "share_above_baseline": float(better.mean()),
        "share_significantly_above": float((better & positive & (corrected < ALPHA)).mean()),
    }


def _against_recommended(table: pd.DataFrame, best: float) -> dict[str, object]:
    """Empty where the recommended γ did not run."""
    gammas, scores = table.columns.to_numpy(float), table.to_numpy(float)
    at = np.flatnonzero(np.isclose(gammas, RECOMMENDED_GAMMA))
    if not at.size:
        return {}
    recommended = scores[:, at[0]]
    if np.isclose(best, RECOMMENDED_GAMMA):
        return {"p_best_vs_recommended": 1.0, "best_differs_from_recommended": False}
    others = np.flatnonzero(~np.isclose(gammas, RECOMMENDED_GAMMA))
    corrected = holm(np.array([signed_rank(scores[:, i], recommended).p for i in others]))
    p = float(corrected[np.flatnonzero(np.isclose(gammas[others], best))[0]])
    return {"p_best_vs_recommended": p, "best_differs_from_recommended": bool(p < ALPHA)}
