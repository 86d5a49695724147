"""Fig. 3 while it grows: mean validation DSC against γ for each loss of a data set, as a Plotly figure. Pure."""

from __future__ import annotations

import pandas as pd

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
        name = short(variant, 36)
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
                }
            )
        else:
            dsc = float(own.loc[own["variant"] == variant, "val_dsc"].iloc[0])
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
                }
            )
    scores = own["val_dsc"]
    low, high = float(scores.min()), float(scores.max())
    # Room above and below, also where there is a single score.
    margin = max(0.06 * (high - low), 0.005)
    return {
        "data": traces,
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "height": 320 + 18 * len(traces),
            "margin": {"l": 52, "r": 12, "t": 8, "b": 44},
            "xaxis": {"title": {"text": "γ"}, "gridcolor": "rgba(128,128,128,0.25)", "zeroline": False},
            "yaxis": {
                "title": {"text": "validation DSC"},
                "gridcolor": "rgba(128,128,128,0.25)",
                "zeroline": False,
                "range": [low - margin, high + margin],
            },
            "showlegend": True,
            "legend": {"orientation": "h", "y": -0.2, "yanchor": "top"},
            "uirevision": dataset,  # a zoom stays when new points come
        },
    }


def in_words(means: pd.DataFrame, dataset: str) -> str:
    """What the figure shows, for readers who do not see it."""
    own = means[(means["dataset"] == dataset) & means["val_dsc"].notna()]
    parts = []
    for variant, curve in own.groupby("variant", sort=True, observed=True):
        low, high = curve["val_dsc"].min(), curve["val_dsc"].max()
        span = f"{low:.3f}" if len(curve) == 1 else f"{low:.3f} to {high:.3f} over {len(curve)} γ"
        parts.append(f"{variant} {span}")
    return f"Mean validation DSC against γ on {dataset}: {'; '.join(parts)}."
