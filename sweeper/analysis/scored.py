"""Which metrics a frame of scores has, and what is known of each: its heading, its range and which way is better."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from sweeper.analysis.frames import SCORE_TEXTS
from trials.metrics import METRICS, Metric, find, in_order, paper_metrics


def metric_columns(scores: pd.DataFrame) -> list[str]:
    """Every metric that a `score_frame` has a column for."""
    return [str(column) for column in scores.columns if column not in SCORE_TEXTS]


def scored_metrics(images: pd.DataFrame) -> list[str]:
    """The metrics that tables and tests are about: the paper's four, then every other one that some image has.

    What describes an image (its size, say) is none of them. Where no image has one of the paper's four, as in scores
    that were made elsewhere, it is left out; DSC never is.

    Args:
        images: `selection.image_scores`, or another frame with a column for each metric.
    """
    stored = in_order([*METRICS, *_further(images)])
    further = [m for m in stored if m not in paper_metrics() and metric(m).compared]
    paper = [m for m in paper_metrics() if m == "dsc" or images.empty or images[m].notna().any()]
    return [*paper, *(m for m in further if m in images and images[m].notna().any())]


def table_metrics(table: pd.DataFrame) -> list[str]:
    """The metrics for which a table of one data set and class has columns: the paper's four, and others with a mean.

    Args:
        table: rows of `tables.result_table`.
    """
    names = [str(m) for m in table["metric"].unique()]
    return [m for m in names if m in paper_metrics() or table.loc[table["metric"] == m, "mean"].notna().any()]


def metric(name: str) -> Metric:
    """What is known of a metric. One of a plug-in that is not loaded has its name as heading; larger is better."""
    return find(name) or Metric(name, name, function="", low=-math.inf, high=math.inf)


def best(name: str, means: Sequence[float] | pd.Series) -> float:
    """The best of several means of a metric; NaN where there is none."""
    defined = pd.Series(means, dtype=float)
    return float(defined.max() if metric(name).higher_is_better else defined.min())


def _further(images: pd.DataFrame) -> list[str]:
    """Numeric columns of a frame of image scores that are stored metrics: with parameters, or not registered here."""
    return [str(c) for c in images.columns if c not in _NO_METRICS and pd.api.types.is_float_dtype(images[c])]


_NO_METRICS = (*SCORE_TEXTS, "dataset", "variant", "loss", "gamma", "repeat", "fold", "repeats")
