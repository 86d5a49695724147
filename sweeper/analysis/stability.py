"""How much γ matters (the paper's Fig. 3), as curves and as numbers.

For each data set and each loss that ran with two or more γ: DSC against γ, the reference lines of the other losses, and
figures that say how flat the curve is and whether it lies above the best baseline.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sweeper.analysis.intervals import t_half_width
from sweeper.analysis.selection import RECOMMENDED_GAMMA, UNIFIED, foreground_dsc
from sweeper.analysis.significance import ALPHA, holm
from sweeper.analysis.verdicts import UNTESTED, equivalence, of_all

CURVE_COLUMNS = ["dataset", "variant", "loss", "gamma", "dsc", "half_width", "repeats_half_width", "n", "repeats"]
STABILITY_COLUMNS = [
    "dataset", "variant", "loss", "gammas", "range", "sd", "slope", "best_gamma", "worst_gamma", "baseline",
    "baseline_dsc", "share_above_baseline", "share_significantly_above", "margin", "verdict", "farthest_gamma",
    "difference", "low", "high", "n", "runs", "note",
]  # fmt: skip

_FIGURES = [
    "range", "sd", "slope", "best_gamma", "worst_gamma", "baseline_dsc", "share_above_baseline",
    "share_significantly_above", "margin", "farthest_gamma", "difference", "low", "high",
]  # fmt: skip


def gamma_curves(images: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Mean test DSC (over foreground classes and images) of each data set, variant and γ, with its 95% intervals.

    Args:
        images: `image_scores` of every γ.
        runs: `curve_runs`.

    Returns:
        `CURVE_COLUMNS`: `half_width` over images, `repeats_half_width` over the repeats' means (NaN for one repeat).
        A loss with a single γ, or none, is a row too: a reference line.
    """
    keys = ["dataset", "variant", "loss", "gamma"]
    over_images = foreground_dsc(images).groupby(keys, dropna=False, observed=True)["dsc"]
    curves = over_images.agg(dsc="mean", half_width=lambda v: t_half_width(v.dropna().to_numpy(float)), n="count")
    over_repeats = runs.groupby(keys, dropna=False, observed=True)["dsc"]
    curves["repeats_half_width"] = over_repeats.agg(lambda v: t_half_width(v.dropna().to_numpy(float)))
    curves["repeats"] = over_repeats.size()
    return curves.reset_index()[CURVE_COLUMNS]


def curve_runs(per_trial: pd.DataFrame) -> pd.DataFrame:
    """The mean test DSC of each run at each γ: columns dataset, variant, loss, gamma, repeat and dsc.

    Args:
        per_trial: `trial_scores` of every γ.
    """
    keys = ["dataset", "variant", "loss", "gamma", "repeat"]
    return per_trial.groupby(keys, dropna=False, observed=True)["dsc"].mean().reset_index()


def stability(differences: pd.DataFrame, curves: pd.DataFrame, selection: pd.DataFrame, margin: float) -> pd.DataFrame:
    """One row per data set and variant that ran with two or more γ.

    Args:
        differences: `gamma_differences`.
        curves: `gamma_curves`.
        selection: `select_gamma`.
        margin: the difference of mean DSC below which two γ count as equal.

    Returns:
        `STABILITY_COLUMNS`. `range`, `sd` (over the γ, n − 1) and `slope` (least squares, DSC per unit of γ) are of the
        mean test DSC. `baseline` is the loss outside the unified family with the highest validation DSC (never chosen
        on test). `share_above_baseline` is the share of the γ whose mean test DSC exceeds the baseline's;
        `share_significantly_above` the share that exceeds it in new trainings (p < 0.05 after Holm over the variant's
        γ), NaN where that was not tested. `verdict` says whether γ is easy to set: whether every γ lies within ±margin
        of 0.5 by its 90% interval. `farthest_gamma`, `difference`, `low` and `high` are of the γ that differs most from
        0.5. NaN and a `note` where something is not there to compare with.
    """
    rows = []
    for (dataset, variant, loss), curve in curves.groupby(["dataset", "variant", "loss"], sort=True, observed=True):
        curve = curve.dropna(subset=["gamma", "dsc"]).sort_values("gamma")
        if len(curve) < 2:
            continue
        own = differences[(differences["dataset"] == dataset) & (differences["variant"] == variant)]
        row: dict[str, object] = {"dataset": dataset, "variant": variant, "loss": loss, **_flatness(curve)}
        row["verdict"] = UNTESTED
        row["n"] = int(curve["n"].max())
        row["runs"] = int(curve["repeats"].min())
        notes = []
        baseline = _baseline(selection, str(dataset), str(variant))
        if baseline is None:
            notes.append("no baseline loss has finished")
        else:
            row |= _against_baseline(curve, own[own["other"] == baseline["variant"]], _dsc_of(curves, baseline))
            row["baseline"] = baseline["variant"]
        row |= (recommended := _against_recommended(own[own["other"] == variant], margin))
        if not recommended:
            notes.append(f"γ = {RECOMMENDED_GAMMA:g} did not run")
        elif row["runs"] == 1:
            notes.append("one run for a γ: nothing is known of new trainings")
        row["note"] = "; ".join(notes)
        rows.append(row)
    return pd.DataFrame(rows, columns=STABILITY_COLUMNS).astype(dict.fromkeys(_FIGURES, float))


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


def _dsc_of(curves: pd.DataFrame, setting: pd.Series) -> float:
    own = curves[(curves["dataset"] == setting["dataset"]) & (curves["variant"] == setting["variant"])]
    gamma = setting["gamma"]
    return float(own.loc[own["gamma"].isna() if pd.isna(gamma) else own["gamma"] == gamma, "dsc"].iloc[0])


def _against_baseline(curve: pd.DataFrame, differences: pd.DataFrame, dsc: float) -> dict[str, object]:
    corrected = holm(differences["p"].to_numpy(float))
    shown = (corrected < ALPHA) & (differences["difference"] > 0)
    return {
        "baseline_dsc": dsc,
        "share_above_baseline": float((curve["dsc"] > dsc).mean()),
        "share_significantly_above": float(shown.mean()) if np.isfinite(corrected).all() else float("nan"),
    }


def _against_recommended(differences: pd.DataFrame, margin: float) -> dict[str, object]:
    """Empty where the recommended γ did not run."""
    against = differences[np.isclose(differences["other_gamma"], RECOMMENDED_GAMMA)]
    if against.empty:
        return {}
    farthest = against.iloc[against["difference"].abs().to_numpy().argmax()]
    verdicts = [equivalence(low, high, margin) for low, high in against[["low", "high"]].to_numpy(float)]
    return {
        "margin": margin, "verdict": of_all(verdicts), "farthest_gamma": farthest["gamma"],
        "difference": farthest["difference"], "low": farthest["low"], "high": farthest["high"],
    }  # fmt: skip
