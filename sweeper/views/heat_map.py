"""The grid as a heat map: rows data set × loss, columns γ, each cell the repeats of one. Pure.

`sweeper status --watch` draws it in a terminal, the live board on a page; neither decides what is in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.records import Trial
from sweeper.grids.names import number, variants
from trials.results import Epoch
from trials.states import FailureKind, TrialState

MOST_COLUMNS = 101
"""With more values of γ than this (a grid from 0 to 1 in steps of 0.01 has so many), columns are ranges of γ."""

RANGES = 20
"""How many ranges then."""

STATE_ORDER = (
    TrialState.RUNNING,
    TrialState.FAILED,
    TrialState.QUEUED,
    TrialState.STOPPED,
    TrialState.PRUNED,
    TrialState.FINISHED,
)
"""The state of several repeats is the first of these that one of them has."""

KIND_WORDS = {
    FailureKind.LOST: "lost",
    FailureKind.OUT_OF_MEMORY: "oom",
    FailureKind.DIVERGED: "nan",
    FailureKind.BAD_DATA: "data",
    FailureKind.BAD_SETTINGS: "set",
    FailureKind.DISK_FULL: "disk",
    FailureKind.TIMED_OUT: "time",
    FailureKind.BUG: "bug",
}
"""At most four letters for each kind of failure."""


@dataclass(frozen=True, slots=True)
class Column:
    """One γ, a range of them (`high` above `low`), or `low` None: the losses that were not swept over γ."""

    low: float | None
    high: float | None = None

    @property
    def label(self) -> str:
        """`no γ`, `0.5` or `0.15–0.20`."""
        if self.low is None:
            return "no γ"
        return number(self.low) if self.high is None else f"{self.low:.2f}–{self.high:.2f}"


@dataclass(frozen=True, slots=True)
class Cell:
    """The trials of one data set, loss and γ (or range of γ): one, or its repeats.

    `dsc` is the mean validation DSC of the finished ones, `test_dsc` likewise; `live` the mean of the newest validation
    DSC of the running ones, and `epoch` of `epochs` how far the furthest of them is. All None where there is none.
    """

    trials: tuple[Trial, ...]
    state: TrialState
    counts: Mapping[TrialState, int]
    dsc: float | None
    test_dsc: float | None
    live: float | None
    epoch: int | None
    epochs: int | None
    failure: FailureKind | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """A data set and a loss (with whatever else tells its trials apart, as in the report), and its cells by column."""

    dataset: str
    loss: str
    cells: Mapping[int, Cell]


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Columns from left to right, and rows in the order of the grid. A row has no cell where the grid has none."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def heat_map(trials: Sequence[Trial], newest: Mapping[str, Epoch], names: Sequence[str] | None = None) -> HeatMap:
    """The heat map of a sweep.

    Args:
        trials: in the order of the grid.
        newest: the newest epoch of each running trial, by hash (`Repository.newest_epochs`).
        names: `variants(trials, naming)`, for a caller that keeps them: they never change.
    """
    columns = _columns({t.gamma for t in trials})
    place = _places({t.gamma for t in trials}, columns)
    rows: dict[tuple[str, str], dict[int, list[Trial]]] = {}
    for trial, name in zip(trials, names or variants(trials), strict=True):
        rows.setdefault((trial.dataset, name), {}).setdefault(place[trial.gamma], []).append(trial)
    order = {dataset: i for i, dataset in enumerate(dict.fromkeys(t.dataset for t in trials))}
    return HeatMap(
        columns,
        tuple(
            Row(dataset, loss, {column: _cell(members, newest) for column, members in sorted(cells.items())})
            for (dataset, loss), cells in sorted(rows.items(), key=lambda item: order[item[0][0]])
        ),
    )


def _columns(gammas: Iterable[float | None]) -> tuple[Column, ...]:
    values = sorted(g for g in gammas if g is not None)
    none = [Column(None)] if None in gammas else []
    if len(values) <= MOST_COLUMNS:
        return (*none, *map(Column, values))
    low, step = values[0], (values[-1] - values[0]) / RANGES
    return (*none, *(Column(low + i * step, low + (i + 1) * step) for i in range(RANGES)))


def _places(gammas: Iterable[float | None], columns: Sequence[Column]) -> dict[float | None, int]:
    """The column of each γ."""
    if all(c.high is None for c in columns):
        at = {c.low: i for i, c in enumerate(columns)}
        return {gamma: at[gamma] for gamma in gammas}
    first = columns[0].low is None
    low, step = columns[first].low or 0.0, (columns[-1].high or 0.0) - (columns[-1].low or 0.0)
    return {
        gamma: 0 if gamma is None else first + min(max(int((gamma - low) / step), 0), RANGES - 1) for gamma in gammas
    }


def _cell(trials: Sequence[Trial], newest: Mapping[str, Epoch]) -> Cell:
    counts = Counter(t.state for t in trials)
    state = next(state for state in STATE_ORDER if counts[state])
    finished = [t for t in trials if t.state is TrialState.FINISHED]
    running = [t for t in trials if t.state is TrialState.RUNNING]
    failed = next((t for t in trials if t.failure is not None and t.state is TrialState.FAILED), None)
    furthest = max(running, key=lambda t: t.epochs, default=None)
    return Cell(
        trials=tuple(trials),
        state=state,
        counts=dict(counts),
        dsc=_mean(t.val_dsc for t in finished),
        test_dsc=_mean(t.test_dsc for t in finished),
        live=_mean(newest[t.hash].val_dsc for t in running if t.hash in newest),
        epoch=None if furthest is None else furthest.epochs,
        epochs=None if furthest is None else furthest.spec.training.epochs,
        failure=None if failed is None else failed.failure,
        error=None if failed is None else failed.error,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is defined: neither None nor NaN."""
    defined = [v for v in values if v is not None and v == v]
    return sum(defined) / len(defined) if defined else None
