"""A sweep's results as two tables: its trials, and each trial's scores per image and class; as JSON and as Parquet."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

from storage.repository import SCORE_TEXTS, Repository
from sweeper.grids.names import naming_of, variants

TRIAL_COLUMNS: Mapping[str, type] = {
    "hash": str,
    "label": str,
    "dataset": str,
    "loss": str,
    "variant": str,
    "gamma": float,
    "repeat": int,
    "fold": int,
    "seed": int,
    "results_version": int,
    "state": str,
    "failure": str,
    "epochs": int,
    "best_epoch": int,
    "val_loss": float,
    "val_dsc": float,
    "test_dsc": float,
    "train_seconds": float,
    "evaluate_seconds": float,
    "parameters": int,
    "mlflow_run": str,
}
Columns = dict[str, list[Any]]


def trial_columns(repository: Repository, sweep: str) -> Columns:
    """`TRIAL_COLUMNS` of all trials, in the order of the grid; None is what a trial does not have (yet).

    Raises:
        UnknownSweepError: there is no such sweep.
    """
    trials = repository.trials(sweep)
    naming = naming_of(repository.sweep(sweep).grid, trials)
    trials = naming.labelled(trials)
    columns: Columns = {name: [getattr(t, name, None) for t in trials] for name in TRIAL_COLUMNS}
    columns["variant"] = variants(trials, naming)
    columns["fold"] = [t.spec.data.fold for t in trials]
    columns["state"] = [t.state.value for t in trials]
    columns["failure"] = [None if t.failure is None else t.failure.value for t in trials]
    return columns


def results_object(repository: Repository, sweep: str) -> dict[str, Any]:
    """Both tables as lists of rows. JSON has no number for what is not finite: it is "Infinity", "-Infinity", "NaN".

    Raises:
        UnknownSweepError: there is no such sweep.
    """
    return {
        "sweep": sweep,
        "trials": _rows(trial_columns(repository, sweep)),
        "scores": _rows(repository.score_columns(sweep)),
    }


def results_parquet(repository: Repository, sweep: str, table: str) -> bytes:
    """One of the tables, `scores` or `trials`, as a Parquet file.

    Raises:
        UnknownSweepError: there is no such sweep.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    if table == "trials":
        columns, kinds = trial_columns(repository, sweep), TRIAL_COLUMNS
    else:
        columns = dict(repository.score_columns(sweep))
        kinds = {name: str if name in SCORE_TEXTS else float for name in columns}
    arrays = {name: pa.array(columns[name], types[kind], from_pandas=False) for name, kind in kinds.items()}
    file = io.BytesIO()
    pq.write_table(pa.table(arrays), file, compression="zstd")
    return file.getvalue()


def _rows(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    return [
        {name: _json(value) for name, value in zip(columns, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]


def _json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
