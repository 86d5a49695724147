"""The two frames that every answer is computed from: one row per trial, and one row per trial, image and class.

Builds them from what `storage` gives (records and columns), and checks them once, so that the statistics need not.
Only finished trials of the current results version are `current`; everything else is listed, never mixed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from storage.records import Trial
from sweeper.analysis.errors import AnalysisError
from sweeper.grids.names import Naming, naming_of
from trials import metrics
from trials.spec import RESULTS_VERSION, is_external
from trials.states import TrialState

METRICS = metrics.paper_metrics()
"""The paper's four metrics (section 3.1.6), each in [0, 1], in the order of its tables."""

SURFACE_DISTANCES = metrics.names(metrics.SURFACE_DISTANCES)
"""Optional distances in the unit of the spacing; smaller is better; infinite where one mask alone is empty."""

SCORE_KEYS = ("trial", "partition", "case", "label")
"""What tells one score from another."""

SCORE_TEXTS = (*SCORE_KEYS, "group")
"""The columns of a score frame that hold text; every other one is a metric."""

TRIAL_COLUMNS = (
    "hash", "label", "state", "dataset", "loss", "variant", "gamma", "repeat", "fold", "seed",
    "results_version", "current",
    "provenance", "dimensions", "prepared", "split", "val_loss", "val_dsc", "test_dsc", "epochs", "best_epoch",
    "train_seconds", "parameters", "attempts", "failure", "error", "environment", "mlflow_run", "external",
    "finished_at",
)  # fmt: skip

_OF_SPEC = ("provenance", "dimensions", "prepared", "split")
_MADE = ("variant", "fold", "current", "external", *_OF_SPEC)
"""Columns that are no field of a `Trial`."""

_NUMERIC = (
    "gamma", "val_loss", "val_dsc", "test_dsc", "best_epoch", "train_seconds", "parameters", "dimensions",
    "finished_at",
)  # fmt: skip


def trial_frame(trials: Iterable[Trial], naming: Naming | None = None) -> pd.DataFrame:
    """One row per trial, in the sweep's order, with `TRIAL_COLUMNS`.

    `variant` is the name under which a loss is compared (`sweeper.grids.names`): two settings are never averaged.
    `gamma` is NaN where the loss has no scalar γ. `fold` is −1 where the data set has one test set; a repeat of a
    cross-validation is one trial for each fold. `current` says whether the trial is finished and of this program's
    `RESULTS_VERSION`; `external` whether its masks were made elsewhere and only scored.
    """
    trials = list(trials)
    naming = naming_of({}, trials) if naming is None else naming
    specs = [t.spec for t in trials]
    variants = naming.variants(specs)
    columns: dict[str, list[Any]] = {
        name: [getattr(t, name) for t in trials] for name in TRIAL_COLUMNS if name not in _MADE
    }
    columns["label"] = [naming.label_of(*both) for both in zip(specs, variants, strict=True)]
    columns["variant"] = variants
    columns["state"] = [str(state) for state in columns["state"]]
    columns["fold"] = [-1 if spec.data.fold is None else spec.data.fold for spec in specs]
    columns["current"] = [t.state is TrialState.FINISHED and t.results_version == RESULTS_VERSION for t in trials]
    for name in _OF_SPEC:
        columns[name] = [getattr(spec.data, name) for spec in specs]
    for name in ("error", "environment", "mlflow_run"):
        columns[name] = [value or "" for value in columns[name]]
    columns["failure"] = [str(failure or "") for failure in columns["failure"]]
    columns["external"] = [is_external(spec) for spec in specs]
    return _typed(pd.DataFrame(columns, columns=list(TRIAL_COLUMNS)))


def typed_trials(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows with `TRIAL_COLUMNS` as a trial frame, each column of its type."""
    return _typed(pd.DataFrame(rows, columns=list(TRIAL_COLUMNS)))


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    for column in _NUMERIC:
        frame[column] = pd.to_numeric(frame[column]).astype(float)
    for column in ("current", "external"):
        frame[column] = frame[column].astype(bool)
    for column in set(TRIAL_COLUMNS) - {
        *_NUMERIC,
        "current",
        "external",
        "repeat",
        "fold",
        "seed",
        "results_version",
        "epochs",
        "attempts",
    }:
        frame[column] = frame[column].astype("str")
    return frame


def score_frame(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """One row per trial, image and class: `SCORE_TEXTS`, then each metric of `trials.metrics.listed`, then further
    columns as they are.

    A score that is undefined, or was not computed, is NaN. `group` is the image's patient or other group; empty where
    it is not known, as it is where the column is missing.

    Raises:
        AnalysisError: a column is missing, a score lies outside its metric's range, or an image occurs twice.
    """
    needed = (*SCORE_KEYS, *METRICS)
    missing = [c for c in needed if c not in columns]
    if missing:
        raise AnalysisError(f"the scores lack the column(s) {', '.join(missing)}; needed: {', '.join(needed)}")
    names = dict.fromkeys([*SCORE_TEXTS, *metrics.listed(), *columns])
    frame = pd.DataFrame({c: columns.get(c, np.full(len(columns["trial"]), np.nan)) for c in names})
    frame["group"] = frame["group"].astype(object).fillna("")
    for column in frame.columns:
        text = column in SCORE_TEXTS
        frame[column] = frame[column].astype("str") if text else pd.to_numeric(frame[column]).astype(float)
    _check_scores(frame)
    return frame


def scores_hash(scores: pd.DataFrame) -> str:
    """16 hex digits over every score, whatever the order of the rows: equal scores have equal hashes.

    A metric that no image has counts only where it always did, so that a new one changes no hash; so do groups where
    none is known. Descriptions of the image do not count.
    """
    always = [*SCORE_KEYS, *METRICS, *SURFACE_DISTANCES]
    left = {*always, *metrics.names(metrics.DESCRIPTION)}
    further = sorted(c for c in scores.columns if c not in left and (scores[c].notna() & (scores[c] != "")).any())
    ordered = scores.loc[:, [*always, *further]].sort_values(list(SCORE_KEYS))
    rows = pd.util.hash_pandas_object(ordered, index=False).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()[:16]


def _check_scores(frame: pd.DataFrame) -> None:
    for name in [str(c) for c in frame.columns if c not in SCORE_TEXTS]:
        metric = metrics.find(name)
        if metric is None:
            continue
        wrong = frame[(frame[name] < metric.low) | (frame[name] > metric.high)]
        if len(wrong):
            row = wrong.iloc[0]
            raise AnalysisError(
                f"{name} = {row[name]:g} of image {row['case']!r}, class {row['label']!r}, trial "
                f"{row['trial']} is outside its range ({len(wrong)} such scores); expected {metric.range}. The stored "
                "scores are damaged: restore the database or run the trial again"
            )
    twice = frame[frame.duplicated(list(SCORE_KEYS))]
    if len(twice):
        row = twice.iloc[0]
        raise AnalysisError(
            f"image {row['case']!r}, class {row['label']!r} occurs twice in the {row['partition']} scores of trial "
            f"{row['trial']}; each image may count once"
        )
