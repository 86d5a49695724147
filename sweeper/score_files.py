"""Scores that another program wrote into a file, as a study: what `sweeper analyse` reads. No database is needed."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import pandas as pd

from storage.records import Sweep
from sweeper.analysis import AnalysisError
from sweeper.analysis.comparisons import KEYS
from sweeper.analysis.from_frame import frames_of
from sweeper.study import Study
from trials.states import SweepState

ENDINGS = (".csv", ".parquet")


def read_scores(path: Path) -> pd.DataFrame:
    """The rows of a CSV or Parquet file. A column of a CSV file without a name, such as pandas' index, is left out.

    Raises:
        AnalysisError: there is no such file, its ending is unknown, it is empty, damaged or no such file at all, or
            two columns have one name.
    """
    if path.suffix.lower() not in ENDINGS:
        raise AnalysisError(f"{path}: unknown ending {path.suffix!r}; expected {' or '.join(ENDINGS)}")
    if path.is_dir():
        raise AnalysisError(f"{path} is a folder; name a file")
    if not path.exists():
        raise AnalysisError(f"there is no file {path}")
    try:
        if not path.stat().st_size:
            raise AnalysisError(f"{path} is empty; expected a row of column names, then one row for each score")
        return _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    except AnalysisError:
        raise
    except (OSError, ValueError, pd.errors.ParserWarning, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise AnalysisError(f"{path} cannot be read as {path.suffix[1:]} ({reason})") from error


def study_of(scores: pd.DataFrame, source: str) -> Study:
    """The scores as a finished sweep that is stored nowhere.

    Args:
        scores: what `sweeper.analysis.from_frame.frames_of` takes.
        source: the name of the file that they are from.

    Raises:
        AnalysisError: they cannot be compared; the message names the file.
    """
    try:
        trials, rows = frames_of(scores)
    except AnalysisError as error:
        raise AnalysisError(" ".join(f"{source}: {error}".split())) from error
    sweep = Sweep(
        id=0, name=Path(source).stem, state=SweepState.FINISHED, reason="", grid={}, rehearsal=False,
        description="", created_at=0.0, finished_at=None, mlflow_run=None, details={},
    )  # fmt: skip
    return Study(sweep, trials, rows)


def _read_csv(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = next((row for row in csv.reader(file) if row), [])
    twice = next((name for name in head if name and head.count(name) > 1), None)
    if twice is not None:
        raise AnalysisError(f"{path} has two columns {twice!r}; expected one of each name")
    if len(head) == 1 and ";" in head[0]:
        raise AnalysisError(f"{path} has semicolons between its columns; expected commas, and points in numbers")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(
            path, encoding="utf-8-sig", index_col=False, dtype=dict.fromkeys((*KEYS, "group"), str), low_memory=False
        )
    return frame.loc[:, [bool(name) for name in head]]


def _read_parquet(path: Path) -> pd.DataFrame:
    frame = pd.read_parquet(path)
    named = [name for name in frame.index.names if name is not None]
    return frame.reset_index(named) if named else frame
