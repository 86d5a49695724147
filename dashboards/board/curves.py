"""The live page's figures, for Plotly: mean validation DSC against γ for each loss of a data set (Fig. 3 while it
grows), and a cell's validation DSC after each epoch against that of other losses. Pure.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence

import pandas as pd

from dashboards.board.cells import History
from dashboards.figures.style import INK, MUTED, ORANGE, SKY, loss_colour, short

MOST_FIGURES = 12
"""Data sets that get a figure."""

# The page is light or dark; these colours differ enough from both.
_ON_ANY_GROUND = {INK: "#7a6cf0", MUTED: "#808182", SKY: "#3a8fc4", ORANGE: "#b87f00"}
_MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")


def curve_figure(means: pd.DataFrame, dataset: str) -> dict[str, object] | None:
    """A line for each loss with two or more γ, a dashed line for each other one; None where no trial has finished.

    Args:
        means: `means_by_gamma` of the trials.
        dataset: the data set's name.
    """
    own = means[(means["dataset"] == dataset) & means["val_dsc"].notna()]
    if own.empty:
        return None
    variants = sorted(own["variant"].unique())
    swept = own.dropna(subset=["gamma"])
    gammas = swept["gamma"]
    span = (float(gammas.min()), float(gammas.max())) if len(gammas) else (0.0, 1.0)
    if span[0] == span[1]:
        span = (span[0] - 0.1, span[1] + 0.1)
    traces: list[dict[str, object]] = []
    for i, variant in enumerate(variants):
        found = loss_colour(variant, variants)
        colour = _ON_ANY_GROUND.get(found, found)
        curve = swept[swept["variant"] == variant].sort_values("gamma")
        name = short(variant)
        if len(curve):
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": name,
                    "x": curve["gamma"].tolist(),
                    "y": curve["val_dsc"].tolist(),
                    "line": {"color": colour, "width": 2},
                    "marker": {"symbol": _MARKERS[i % len(_MARKERS)], "size": 8},
                    "hovertemplate": "γ = %{x}: %{y:.3f}",
                    **_interval(curve["val_half_width"].tolist(), colour),
                }
            )
        else:
            row = own[own["variant"] == variant].iloc[0]
            dsc, half = float(row["val_dsc"]), float(row["val_half_width"])
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": name,
                    "x": list(span),
                    "y": [dsc, dsc],
                    "line": {"color": colour, "width": 1.5, "dash": "dash"},
                    "marker": {"symbol": _MARKERS[i % len(_MARKERS)], "size": 7},
                    "hovertemplate": "%{y:.3f}, not swept over γ",
                    **_interval([half, half], colour),
                }
            )
    scores, halves = own["val_dsc"], own["val_half_width"].fillna(0.0)
    low, high = float((scores - halves).min()), float((scores + halves).max())
    # Room above and below, also where there is a single score.
    margin = max(0.06 * (high - low), 0.005)
    span = (max(low - margin, 0.0), min(high + margin, 1.0))
    return {"data": traces, "layout": _layout("γ", dataset, len(traces), span, height=320)}


def in_words(means: pd.DataFrame, dataset: str) -> str:
    """What the figure shows, for readers who do not see it."""
    own = means[(means["dataset"] == dataset) & means["val_dsc"].notna()]
    parts = []
    for variant, curve in own.groupby("variant", sort=True, observed=True):
        low, high = curve["val_dsc"].min(), curve["val_dsc"].max()
        span = f"{low:.3f}" if len(curve) == 1 else f"{low:.3f} to {high:.3f} over {len(curve)} γ"
        parts.append(f"{variant} {span}")
    return f"Mean validation DSC against γ on {dataset}: {'; '.join(parts)}."


def epoch_figure(lines: Sequence[History], variants: Sequence[str]) -> dict[str, object] | None:
    """The figure of a cell; None where none of its own trials has an epoch yet.

    Args:
        lines: `histories`.
        variants: every loss of the data set, which gives each its colour.
    """
    if not any(line.own for line in lines):
        return None
    traces: list[dict[str, object]] = []
    for i, line in enumerate(lines):
        loss, dot, rest = line.name.partition(" · ")
        found = loss_colour(loss, variants)
        colour = "#d55e00" if line.own else _ON_ANY_GROUND.get(found, found)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if line.own or len(line.epochs) == 1 else "lines",
                "name": short(loss) + dot + rest,
                "x": list(line.epochs),
                "y": list(line.dsc),
                "line": {"color": colour, "width": 3 if line.own else 1.2, "dash": "solid" if line.own else "dot"},
                "marker": {"symbol": _MARKERS[i % len(_MARKERS)], "size": 6},
                "hovertemplate": "epoch %{x}: %{y:.3f}",
            }
        )
    values = [value for line in lines for value in line.dsc]
    margin = max(0.06 * (max(values) - min(values)), 0.005)
    span = (min(values) - margin, max(values) + margin)
    return {"data": traces, "layout": _layout("epoch", lines[0].name, len(traces), span, height=260)}


def epochs_in_words(lines: Sequence[History]) -> str:
    """What the figure of a cell shows: where it is, and where the others were after as many epochs."""
    parts = []
    last = max((line.epochs[-1] for line in lines if line.own), default=0)
    for line in lines:
        if line.own:
            parts.append(f"{line.name} {line.dsc[-1]:.3f} after epoch {line.epochs[-1]}")
        elif line.epochs[0] <= last:
            parts.append(f"{line.name} {line.dsc[bisect(line.epochs, last) - 1]:.3f} then")
    return f"Validation DSC after each epoch: {'; '.join(parts)}."


def _interval(half_widths: Sequence[float], colour: str) -> dict[str, object]:
    """The 95% interval over runs as error bars; nothing where no point has several runs."""
    if all(width != width for width in half_widths):
        return {}
    widths = [0.0 if width != width else width for width in half_widths]
    return {"error_y": {"type": "data", "array": widths, "color": colour, "thickness": 1, "width": 3}}


def _layout(across: str, name: str, lines: int, span: tuple[float, float], *, height: int) -> dict[str, object]:
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "height": height + 18 * lines,
        "margin": {"l": 52, "r": 12, "t": 8, "b": 44},
        "xaxis": {"title": {"text": across}, "gridcolor": "rgba(128,128,128,0.25)", "zeroline": False},
        "yaxis": {
            "title": {"text": "validation DSC"},
            "gridcolor": "rgba(128,128,128,0.25)",
            "zeroline": False,
            "range": list(span),
        },
        "showlegend": True,
        "legend": {"orientation": "h", "y": -0.2, "yanchor": "top"},
        "uirevision": name,  # a zoom stays when new points come
    }
