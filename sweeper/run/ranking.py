"""The ranking of a sweep's losses and its answer in words, as MLflow shows them on the sweep's own run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from sweeper.analysis import Answers
from sweeper.analysis.comparisons import NEW_TRAININGS
from sweeper.study import Study
from workers.tracking.describe import metric_key

Row = Mapping[str, str | float | int | None]


def ranking(answers: Answers) -> list[Row]:
    """Every loss on every data set and class, best first by mean test DSC over images and runs.

    γ is the one that validation chose; `±` is half of the 95% interval over images. A probability is of new trainings:
    there is none where the losses have one run each.
    """
    table = answers.table[(answers.table["metric"] == "dsc") & answers.table["mean"].notna()]
    told = [r for r in answers.rankings if r.about == NEW_TRAININGS]
    chances = {(r.dataset, r.label, loss): p for r in told for loss, p in r.best_probability.items()}
    rows: list[Row] = []
    for (dataset, label), group in table.groupby(["dataset", "label"], sort=False, observed=True):
        ordered = group.sort_values("mean", ascending=False, kind="stable")
        for place, one in enumerate(ordered.to_dict("records"), 1):
            rows.append(
                {
                    "data set": str(dataset),
                    "class": str(label),
                    "rank": place,
                    "loss": str(one["variant"]),
                    "γ": _number(one["gamma"]),
                    "test DSC": _number(one["mean"]),
                    "±": _number(one["half_width"]),
                    "runs": int(one["repeats"]),
                    "images": int(one["n"]),
                    "best with probability": _number(chances.get((str(dataset), str(label), str(one["variant"])))),
                }
            )
    return rows


def ranking_metrics(rows: Iterable[Row]) -> dict[str, float]:
    """The mean test DSC of each loss as metrics: `test_dsc/nuclei/nucleus/dice`."""
    found = {}
    for row in rows:
        place = "/".join(metric_key(str(row[key])) for key in ("data set", "class", "loss"))
        if isinstance(value := row["test DSC"], float):
            found[f"test_dsc/{place}"] = value
    return found


def said(study: Study) -> list[str]:
    """The description of a sweep's run: how it stands, its answer, and what it asks, a paragraph each."""
    states = study.trials["state"].value_counts()
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    rehearsal = "REHEARSAL: its scores mean nothing. " if study.sweep.rehearsal else ""
    chosen = study.answers.chosen
    return [
        f"**{study.sweep.state.value}**: {rehearsal}{counts or 'no trial'}.",
        *study.answers.sentences,
        f"By validation scores alone the choice is {chosen}." if chosen else "",
        study.sweep.description,
    ]


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 6)
