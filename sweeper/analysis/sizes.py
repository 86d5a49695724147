"""Scores by the size of the structure: the point of losses for imbalanced classes is how they treat small ones.

The test images of a data set and class are put into thirds by the pixels of the class in the truth. Images without the
class are in no third, nor are those whose size is not stored (scores of an older version).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeper.analysis.intervals import t_half_width
from sweeper.analysis.scored import scored_metrics
from sweeper.analysis.selection import at_diagonal
from trials.metrics import SIZE

THIRDS = ("small", "medium", "large")

SIZE_COLUMNS = [
    "dataset", "label", "third", "smallest", "largest", "variant", "loss", "gamma", "metric", "mean", "half_width", "n",
    "left_out", "missed",
]  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """The structures of one data set and class.

    Attributes:
        thirds: the third of each image that is in one, by case; empty where fewer than three sizes are known.
        pixels: the size of each image's structure, by case; NaN where it is not known.
    """

    thirds: pd.Series
    pixels: pd.Series

    @property
    def unknown(self) -> int:
        """Images whose size is not stored."""
        return int(self.pixels.isna().sum())

    @property
    def absent(self) -> int:
        """Images without the class."""
        return int((self.pixels == 0).sum())


def sizes_of(images: pd.DataFrame) -> Sizes:
    """The structures of one data set and class.

    Args:
        images: the rows of `selection.image_scores` of one data set and class.
    """
    known = images[SIZE] if SIZE in images else pd.Series(np.nan, index=images.index)
    # A loss may have scores of an older version, whose truth is the same.
    pixels = known.groupby(images["case"], sort=True).max()
    there = pixels[pixels > 0]
    if there.nunique() < len(THIRDS):
        return Sizes(pd.Series(dtype="str"), pixels)
    # Equal sizes have equal ranks, and so are in one third.
    place = (len(THIRDS) * (there.rank() - 0.5) / len(there)).astype(int).clip(upper=len(THIRDS) - 1)
    return Sizes(place.map(dict(enumerate(THIRDS))).astype("str"), pixels)


def by_size(images: pd.DataFrame) -> pd.DataFrame:
    """One row per data set, class, third of the structures' sizes, variant and metric.

    Args:
        images: `selection.image_scores` at each variant's chosen γ.

    Returns:
        `SIZE_COLUMNS`: `smallest` and `largest` are the sizes at the ends of the third, in pixels; `mean` ±
        `half_width` is Student's 95% interval over its images; `left_out` and `missed` are counted as in
        `tables.result_table`.
    """
    metrics = scored_metrics(images)
    bounded = at_diagonal(images)
    rows: list[dict[str, object]] = []
    for (dataset, label), place in images.groupby(["dataset", "label"], sort=True, observed=True):
        sizes = sizes_of(place)
        third = place["case"].map(sizes.thirds)
        for name in THIRDS:
            pixels = sizes.pixels[sizes.thirds[sizes.thirds == name].index]
            own = place[third == name].groupby(["variant", "loss", "gamma"], dropna=False, sort=True, observed=True)
            for (variant, loss, gamma), group in own:
                for metric in metrics:
                    scores = bounded.loc[group.index, metric].to_numpy(float)
                    values = scores[np.isfinite(scores)]
                    rows.append(
                        {
                            "dataset": dataset, "label": label, "third": name, "smallest": pixels.min(),
                            "largest": pixels.max(), "variant": variant, "loss": loss, "gamma": gamma, "metric": metric,
                            "mean": values.mean() if values.size else np.nan, "half_width": t_half_width(values),
                            "n": values.size, "left_out": scores.size - values.size,
                            "missed": int(np.isinf(group[metric]).sum()),
                        }
                    )  # fmt: skip
    numbers = dict.fromkeys(["smallest", "largest", "gamma", "mean", "half_width"], float)
    return pd.DataFrame(rows, columns=SIZE_COLUMNS).astype(numbers)
