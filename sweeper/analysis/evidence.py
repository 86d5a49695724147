"""What the answers rest on, per data set: trials and what became of them, runs, images, patients, what is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from trials.metrics import SIZE, paper_metrics

EVIDENCE_COLUMNS = [
    "dataset", "provenance", "trials", "counted", "failed", "pruned", "waiting", "stopped", "outdated", "losses",
    "fewest_runs", "most_runs", "images", "groups", "empty", "undefined", "missing", "absent",
]  # fmt: skip

_WAITING = ("queued", "running")


def evidence(trials: pd.DataFrame, selected: pd.DataFrame, chosen: pd.DataFrame, absent: pd.DataFrame) -> pd.DataFrame:
    """One row per data set.

    Args:
        trials: `frames.trial_frame`.
        selected: `image_scores` at the chosen γ.
        chosen: `trial_scores` at the chosen γ.
        absent: the classes that no image of a partition shows.

    Returns:
        `EVIDENCE_COLUMNS`. `counted` are the trials that enter the statistics; the others are failed, pruned, waiting
        (queued or running), stopped or outdated. `fewest_runs` and `most_runs` are of one loss at its chosen γ,
        `images` the test images, `groups` the patients or sequences that the scores name (0 where they name none).
        `empty` counts the images whose truth has no pixel of a class (NaN where sizes were not stored), `undefined`
        those with a score of the paper's metrics that has no value for some loss, `missing` those that some loss has
        no DSC for; an image counts once for each class. `absent` names the classes without a test image.
    """
    rows = []
    for dataset, own in trials.groupby("dataset", sort=False, observed=True):
        images, runs = selected[selected["dataset"] == dataset], chosen[chosen["dataset"] == dataset]
        repeats = runs.groupby("variant", observed=True)["repeat"].nunique()
        state = own["state"].astype(str)
        groups = runs.loc[runs["group"] != "", "group"].nunique()
        lacking = absent[(absent["dataset"] == dataset) & (absent["partition"] == "test")]
        rows.append(
            {
                "dataset": str(dataset),
                "provenance": str(own["provenance"].iloc[0]),
                "trials": len(own),
                "counted": int(own["current"].sum()),
                "failed": int((state == "failed").sum()),
                "pruned": int((state == "pruned").sum()),
                "waiting": int(state.isin(_WAITING).sum()),
                "stopped": int((state == "stopped").sum()),
                "outdated": int(((state == "finished") & ~own["current"]).sum()),
                "losses": len(repeats),
                "fewest_runs": int(repeats.min()) if len(repeats) else 0,
                "most_runs": int(repeats.max()) if len(repeats) else 0,
                "images": images["case"].nunique(),
                "groups": int(groups),
                "empty": _empty(images),
                "undefined": _pairs(images[images[list(paper_metrics())].isna().any(axis=1)]),
                "missing": _missing(images),
                "absent": ", ".join(map(str, lacking["label"])),
            }
        )
    return pd.DataFrame(rows, columns=EVIDENCE_COLUMNS).astype({"empty": float})


def _pairs(images: pd.DataFrame) -> int:
    return len(images[["label", "case"]].drop_duplicates())


def _empty(images: pd.DataFrame) -> float:
    if images.empty or SIZE not in images or images[SIZE].isna().any():
        return np.nan
    return float(_pairs(images[images[SIZE] == 0]))


def _missing(images: pd.DataFrame) -> int:
    by_loss = images.dropna(subset=["dsc"]).groupby(["label", "case"], observed=True)["variant"].nunique()
    return int((by_loss < images["variant"].nunique()).sum()) + _pairs(images) - len(by_loss)
