"""Scores that were made elsewhere as the two frames that every answer is computed from (`frames`).

A trial is one run of a loss on a data set, or one fold of it. Nothing is known of its training: there are no validation
scores, no γ and no times.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sweeper.analysis.comparisons import KEYS, checked, first_row, place_of
from sweeper.analysis.errors import AnalysisError
from sweeper.analysis.frames import METRICS, SCORE_TEXTS, TRIAL_COLUMNS, score_frame, typed_trials
from trials import metrics
from trials.errors import nearest
from trials.spec import RESULTS_VERSION, content_hash
from trials.states import TrialState

HEADLINE = "dsc"
"""The metric that losses are ranked by; every other one is optional."""

MOST_METRICS = 50
"""Each is tested for every pair of losses: a file with more columns was made for something else."""

PROVENANCE = "from a file"

_OPTIONAL = ("group", "fold")
_LIKE_DSC = ("dsc", "dice", "dice_score", "mean_dice")
_TAKEN = {*TRIAL_COLUMNS, *SCORE_TEXTS, "repeats"} - {*KEYS, *_OPTIONAL}
"""Names with a meaning of their own in the frames."""


def frames_of(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trials and the scores of a frame of scores.

    Args:
        scores: the columns of `compare`, `dsc` among them, and one for each further metric. `fold` (a whole number)
            where each run is a cross-validation. `size` and `diagonal` describe an image, as in a sweep. Of a metric
            that is not registered the larger value is the better one.

    Returns:
        `frames.trial_frame` and `frames.score_frame`. Every score is of the partition "test".

    Raises:
        AnalysisError: as in `compare`, for every metric. Also: a column is neither known nor numeric, there are too
            many, a score lies outside the range of its metric, or a fold is no whole number.
    """
    scores = _with_text_keys(scores.rename(columns=str).reset_index(drop=True))
    _check_columns(scores)
    kept = checked(scores, HEADLINE)
    for name in metric_names(scores):
        known = metrics.find(name)
        if known is None or known.compared:
            kept[name] = checked(scores, name)[name]
        else:
            kept[name] = _numbers(scores, name)
        _check_range(kept, name)
    _check_shared(kept)
    kept["fold"] = _folds(scores)
    return _trials(kept), _scores(kept)


def _check_columns(scores: pd.DataFrame) -> None:
    if scores.columns.has_duplicates:
        raise AnalysisError(f"the scores have two columns {scores.columns[scores.columns.duplicated()][0]!r}")
    alike = [c for c in scores.columns if c.lower() in _LIKE_DSC]
    if HEADLINE not in scores and alike:
        raise AnalysisError(f"losses are ranked by the column {HEADLINE!r}, which is missing; rename {alike[0]!r}")


def metric_names(scores: pd.DataFrame) -> list[str]:
    """The columns of a frame that are metrics or describe an image.

    Raises:
        AnalysisError: a column has a name of its own meaning, or is neither a known metric nor numeric.
    """
    found = [str(c) for c in scores.columns if c not in (*KEYS, *_OPTIONAL)]
    if len(found) > MOST_METRICS:
        raise AnalysisError(
            f"the scores have {len(found)} columns besides {', '.join(KEYS)}; at most {MOST_METRICS} metrics can be "
            "compared, one column each: leave the others out"
        )
    for name in found:
        if name in _TAKEN:
            what = "each γ is a loss of its own: put it into the loss's name" if name == "gamma" else "it is no metric"
            raise AnalysisError(f"the scores have a column {name!r}; leave it out ({what})")
        if metrics.find(name) is None and not pd.api.types.is_numeric_dtype(scores[name]):
            known = [*metrics.names(), *_OPTIONAL]
            raise AnalysisError(
                f"the column {name!r} is no metric and holds no numbers{nearest(name, known)}; leave it out, or "
                "correct its values"
            )
    return metrics.in_order(found)


def _with_text_keys(scores: pd.DataFrame) -> pd.DataFrame:
    """Keys as text, as storage keeps them, so that 1 and "1" are one run."""
    texts = [c for c in (*KEYS, "group") if c in scores]
    return scores.assign(**{c: scores[c].astype(object).map(str, na_action="ignore") for c in texts})


def _numbers(scores: pd.DataFrame, name: str) -> pd.Series:
    numbers = pd.to_numeric(scores[name], errors="coerce")
    if (numbers.isna() & scores[name].notna()).any():
        raise AnalysisError(f"the column {name!r} holds a value that is no number")
    return numbers.astype(float)


def _check_range(kept: pd.DataFrame, name: str) -> None:
    known = metrics.find(name)
    if known is None:
        return
    wrong = (kept[name] < known.low) | (kept[name] > known.high)
    if wrong.any():
        row = first_row(kept, wrong)
        percent = " (a percentage is divided by 100)" if known.high == 1 < row[name] <= 100 else ""
        raise AnalysisError(
            f"{place_of(row)}: {name} is {row[name]:g}, outside its range; expected {known.range}{percent}"
        )


def _check_shared(kept: pd.DataFrame) -> None:
    if (kept.groupby(["dataset", "class", "case"], observed=True)["loss"].nunique() < 2).all():
        raise AnalysisError("no case has scores of two losses; cases must be named alike for all losses")
    if metrics.SIZE in kept and (kept[metrics.SIZE] == 0).all():
        raise AnalysisError("every size is 0: no image shows its class, so there is nothing to compare")


def _folds(scores: pd.DataFrame) -> pd.Series:
    if "fold" not in scores or scores["fold"].isna().all():
        return pd.Series(-1, index=scores.index)
    folds = pd.to_numeric(scores["fold"], errors="coerce")
    wrong = folds.isna() | (folds < 0) | (folds % 1 != 0)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise AnalysisError(f"row {row}: fold is {str(scores['fold'].iloc[row])!r}; expected 0, 1, 2 …")
    return folds.astype(int)


def _trials(kept: pd.DataFrame) -> pd.DataFrame:
    keys = ["dataset", "loss", "run", "fold"]
    repeats = kept.groupby(["dataset", "loss"], sort=False)["run"].transform(lambda runs: pd.factorize(runs)[0])
    kept["trial"] = [content_hash([str(k) for k in key]) for key in kept[keys].itertuples(index=False)]
    rows = [
        dict.fromkeys(TRIAL_COLUMNS, "")
        | dict.fromkeys(("gamma", "val_loss", "val_dsc", "best_epoch", "train_seconds", "parameters"), np.nan)
        | {
            "hash": trial, "label": f"{dataset} · {loss} · run {run}{f', fold {fold}' if fold >= 0 else ''}",
            "state": str(TrialState.FINISHED), "dataset": dataset, "loss": loss, "variant": loss,
            "repeat": int(repeats[own.index[0]]), "fold": int(fold), "seed": 0, "results_version": RESULTS_VERSION,
            "current": True, "external": False, "provenance": PROVENANCE, "dimensions": np.nan,
            "test_dsc": own[HEADLINE].mean(), "epochs": 0, "attempts": 1, "finished_at": np.nan,
        }
        for trial, own in kept.groupby("trial", sort=False)
        for dataset, loss, run, fold in own[keys].head(1).to_numpy().tolist()
    ]  # fmt: skip
    return typed_trials(rows)


def _scores(kept: pd.DataFrame) -> pd.DataFrame:
    frame = kept.rename(columns={"class": "label"}).assign(partition="test")
    frame["group"] = frame["group"].fillna("") if "group" in frame else ""
    for name in METRICS:
        if name not in frame:
            frame[name] = np.nan
    return score_frame({str(c): frame[c].tolist() for c in frame if c not in ("dataset", "loss", "run", "fold")})
