"""What the registry says of a data set's best model: what it is, how good, its licence, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from sweeper.analysis.intervals import t_half_width
from sweeper.data.preparation import about_of
from sweeper.grids.files import parse_grid
from sweeper.study import Study
from trials.errors import ExpectedError
from trials.metrics import find, paper_metrics

NOT_FOR = (
    "A research result, trained and tested on this data set alone. It is no medical device: not for diagnosis, "
    "treatment or any decision about a patient. On images of another scanner, protocol, site or population it may be "
    "wrong without a sign of it."
)


def model_cards(study: Study, best: Mapping[str, str]) -> dict[str, str]:
    """The description of each data set's best model, in Markdown.

    Args:
        study: the sweep.
        best: data set to the hash of its best trial.
    """
    licences = _licences(study)
    return {
        dataset: _card(study, study.trials[study.trials["hash"] == trial].iloc[0], licences.get(dataset, ""))
        for dataset, trial in best.items()
    }


def _card(study: Study, trial: pd.Series, licence: str) -> str:
    gamma = "" if pd.isna(trial["gamma"]) else f", γ {trial['gamma']:g}"
    own = study.scores[(study.scores["trial"] == trial["hash"]) & (study.scores["partition"] == "test")]
    lines = [
        f"Best on {trial['dataset']} by validation DSC ({trial['val_dsc']:.3f}) in sweep {study.sweep.name}.",
        "",
        f"- Data set: {trial['dataset']} ({trial['provenance']}), prepared as `{trial['prepared']}`",
        f"- Split: `{trial['split']}`",
        f"- Loss: {trial['variant']}{gamma}; trial `{trial['hash']}`",
        *_scores(own),
        f"- Licence of the data: {licence or 'not known'}",
        "",
        NOT_FOR,
        "",
        "`mlflow.pyfunc.load_model(…).predict(…)` takes raw images, as paths or arrays, and gives label maps "
        "(`sweeper` must be installed); `mlflow.keras.load_model(…)` is the network alone, for preprocessed batches.",
    ]
    if study.sweep.rehearsal:
        lines.insert(0, "REHEARSAL: trained on synthetic files; its scores mean nothing.\n")
    return "\n".join(lines)


def _scores(own: pd.DataFrame) -> list[str]:
    """The test scores of each class: means with Student's 95% intervals over images, of this one training."""
    lines = []
    for label, rows in own.groupby("label", observed=True):
        parts = []
        for name in paper_metrics():
            values = rows[name].to_numpy(float)
            values = values[np.isfinite(values)]
            if values.size:
                half = t_half_width(values)
                interval = "" if np.isnan(half) else f" ± {half:.3f}"
                metric = find(name)
                parts.append(f"{metric.heading if metric else name} {values.mean():.3f}{interval}")
        lines.append(f"- Test scores of {label} (mean ± 95% interval over {len(rows)} images): {', '.join(parts)}")
    return lines


def _licences(study: Study) -> dict[str, str]:
    """The licence of each data set, as its reader or the grid states it."""
    found = {}
    try:
        for table in parse_grid(study.sweep.grid, study.sweep.name).datasets:
            found[table.name] = about_of(table).licence
    except (ExpectedError, AttributeError):  # a plug-in's reader that is not here, or that states none
        pass
    return found
