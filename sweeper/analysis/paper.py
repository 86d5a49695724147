"""The paper's Tables 2 to 6 (Yeung et al. 2022), and ours beside them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import pandas as pd
from scipy import stats

DATASETS = {"cvc_clinicdb": 2, "drive": 3, "bus2017": 4, "brats20": 5, "kits19": 6}
"""The paper's data sets, and the number of the table that each has."""

LOSSES = (
    "ce", "focal", "dice", "tversky", "focal_tversky", "combo", "unified_focal_sym", "unified_focal_asym",
)  # fmt: skip
"""The paper's losses in the order of its tables."""

DIFFERENCE_NOTES = dict.fromkeys(
    ("brats20", "kits19"),
    "In 3D the focal parts of the paper's released code index a spatial axis in place of the class axis, so that they "
    "see the first two slices of each patch alone; here they see every voxel and its class. If the paper's figures are "
    "those of that code, the differences of the two unified losses compare two different losses.",
)
"""What must be known of a difference to the paper's Tables 5 and 6, by data set."""


@cache
def _tables() -> pd.DataFrame:
    with files("sweeper.analysis").joinpath("paper_tables.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file).rename(columns={"class": "label"})


def paper_tables() -> pd.DataFrame:
    """Columns dataset, label, loss, metric, mean and ci95_half_width: 192 rows, one per figure of Tables 2 to 6."""
    return _tables().copy()


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """`result_table` with the paper's mean and half width, and the difference (ours minus the paper's).

    NaN where the paper has no such figure. A variant that is not the plain loss (another network or δ) has none. Of the
    two 3D data sets see `DIFFERENCE_NOTES`.
    """
    paper = paper_tables().rename(columns={"mean": "paper_mean", "ci95_half_width": "paper_half_width"})
    joined = table.merge(paper, on=["dataset", "label", "loss", "metric"], how="left")
    joined.loc[joined["variant"] != joined["loss"], ["paper_mean", "paper_half_width"]] = float("nan")
    joined["difference"] = joined["mean"] - joined["paper_mean"]
    return joined


def ranking_agreement(joined: pd.DataFrame) -> pd.DataFrame:
    """Kendall's τ-b between our and the paper's order of the losses by mean DSC, per data set and class.

    Returns:
        Columns dataset, label, losses (how many both have), tau, p (two-sided; NaN below two losses). Data sets that
        the paper does not have are absent.
    """
    rows = []
    both = joined[(joined["metric"] == "dsc") & joined["paper_mean"].notna() & joined["mean"].notna()]
    for (dataset, label), group in both.groupby(["dataset", "label"], sort=False, observed=True):
        tau, p = float("nan"), float("nan")
        if len(group) > 1:
            # To the three decimals of the paper's tables, so that what it shows as a tie is a tie.
            result = stats.kendalltau(group["mean"].round(3), group["paper_mean"])
            tau, p = float(result.statistic), float(result.pvalue)
        rows.append({"dataset": dataset, "label": label, "losses": len(group), "tau": tau, "p": p})
    return pd.DataFrame(rows, columns=["dataset", "label", "losses", "tau", "p"])
