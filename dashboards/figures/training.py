"""Training curves: validation DSC by epoch of all losses of a data set, and the losses themselves, a panel each."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from dashboards.figures.registry import ReportFigure
from dashboards.figures.style import MUTED, ORANGE, Drawing, draw, label_end, loss_colour, short, spread
from dashboards.study_data import StudyData

_COLUMNS = 4


def validation_dsc_figure(dataset: str, history: pd.DataFrame, variants: list[str]) -> Drawing:
    """Mean validation DSC over the runs, one line for each variant; single runs are thin lines behind it.

    Args:
        history: epochs of the trials at the chosen γ: columns variant, trial, epoch, loss, val_loss, val_dsc.
        variants: all variants of the study, for the colours.
    """

    means = history.groupby(["variant", "epoch"])["val_dsc"].mean()
    repeated = bool((history.groupby("variant")["trial"].nunique() > 1).any())

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        ends = []
        for variant, group in history.groupby("variant", sort=True):
            mean = means[variant]
            colour = loss_colour(str(variant), variants)
            for _, run in group.groupby("trial") if repeated else ():
                axes.plot(run["epoch"], run["val_dsc"], color=colour, linewidth=0.5, alpha=0.35)
            axes.plot(mean.index.to_numpy(), mean.to_numpy(float), color=colour, linewidth=1.3)
            ends.append((str(variant), float(mean.index[-1]), float(mean.iloc[-1]), colour))
        low, high = axes.get_ylim()
        axes.set_ylim(low, high)
        heights = spread([end[2] for end in ends], 0.055 * (high - low), low, high)
        for (variant, epoch, dsc, colour), height in zip(ends, heights, strict=True):
            label_end(axes, short(variant), (epoch, dsc), height, colour)
        axes.set_xlabel("epoch")
        axes.set_ylabel("validation DSC")
        axes.set_title(dataset if len(dataset) < 60 else f"{dataset[:57]}…")

    final = history.sort_values("epoch").groupby("variant")["val_dsc"].last()
    listed = "; ".join(f"{variant} {value:.3f}" for variant, value in final.items())
    return draw(
        f"training-dsc-{dataset}",
        f"Validation DSC by epoch, {dataset}",
        f"Mean over the runs at each loss's chosen γ{', and each run as a thin line' if repeated else ''}; training "
        "stops early on the validation loss, so the lines end at different epochs.",
        f"Line chart of validation DSC by epoch on {dataset}. Last values: {listed}.",
        (6.2, 3.4),
        paint,
        data=history[["dataset", "variant", "trial", "epoch", "val_dsc"]],
        how="After each epoch the validation images are segmented and scored: DSC, the mean over images and foreground "
        "classes. A line is its mean over the runs that reached the epoch. The CSV file has each run.",
    )


def loss_figure(dataset: str, history: pd.DataFrame) -> Drawing:
    """Each loss in a panel of its own, since the losses' scales cannot be compared. `history` as above."""
    shown = sorted(history["variant"].unique())
    rows = math.ceil(len(shown) / _COLUMNS)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(rows, min(_COLUMNS, len(shown)), squeeze=False).ravel()
        for panel in panels[len(shown) :]:
            panel.axis("off")
        for panel, variant in zip(panels, shown, strict=False):
            own = history[history["variant"] == variant]
            mean = own.groupby("epoch")[["loss", "val_loss"]].mean()
            panel.plot(mean.index, mean["loss"], color=ORANGE, linewidth=1.1)
            panel.plot(mean.index, mean["val_loss"], color=MUTED, linewidth=1.1, linestyle=(0, (4, 2)))
            panel.set_title("\n".join(textwrap.wrap(short(variant), 20)[:3]), fontsize=7)
            panel.tick_params(labelsize=7)
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel("loss", fontsize=9)

    return draw(
        f"training-loss-{dataset}",
        f"Training and validation loss, {dataset}",
        "Solid: training, dashed: validation; mean over the runs. The scales differ between losses.",
        f"Line charts of training and validation loss by epoch on {dataset}, one for each of {len(shown)} losses.",
        (6.2, 1.4 * rows + 0.4),
        paint,
        data=history[["dataset", "variant", "trial", "epoch", "loss", "val_loss"]],
        how="The loss itself, as the mean over the steps of an epoch and, dashed, over the validation images. A line "
        "is its mean over the runs that reached the epoch. The CSV file has each run.",
    )


def _drawings(data: StudyData) -> Iterator[Drawing]:
    for dataset in data.datasets:
        history = data.history[data.history["dataset"] == dataset]
        if len(history):
            yield validation_dsc_figure(dataset, history, data.variants)
            yield loss_figure(dataset, history)


TRAINING = ReportFigure("training", "training", _drawings)
