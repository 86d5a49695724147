"""A cell's validation DSC after each epoch, and what it is compared with. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from dashboards.board import content
from dashboards.board.source import Snapshot
from trials.results import Epoch
from trials.states import TrialState

MOST_OTHERS = 12
"""Losses that the figure of a cell compares it with."""

MOST_RUNS = 10
"""Runs of each of them whose mean is taken."""


@dataclass(frozen=True, slots=True)
class Group:
    """Trials by the line that they make in the figure of a cell: hashes by name."""

    own: bool
    parts: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class History:
    """A line of the figure of a cell: validation DSC after each epoch. `own`: of a trial of the cell; otherwise the
    mean over the runs of another loss that have come so far."""

    name: str
    own: bool
    epochs: Sequence[int]
    dsc: Sequence[float]


def histories(groups: Sequence[Group], found: Mapping[str, Sequence[Epoch]]) -> list[History]:
    """The lines of a cell's figure.

    Args:
        groups: the cell's trials and those of other losses (`against`).
        found: the epochs of each trial, by hash.
    """
    lines = []
    for group in groups:
        for name, hashes in group.parts:
            values: dict[int, list[float]] = {}
            for one in hashes:
                for epoch in found.get(one, ()):
                    if epoch.val_dsc == epoch.val_dsc:
                        values.setdefault(epoch.epoch, []).append(epoch.val_dsc)
            if values:
                numbers = sorted(values)
                lines.append(History(name, group.own, numbers, [fmean(values[n]) for n in numbers]))
    return lines


def against(snapshot: Snapshot, dataset: str, loss: str, column: str) -> list[Group]:
    """The trials of a cell one by one, and those of the other losses of its data set, each at its best γ so far.

    The best are those with the highest mean validation DSC; where none of a loss has finished, its running trials.
    """
    own = content.trials_of(snapshot, dataset, loss, column)
    mine = {t.hash for t in own}
    several = len(own) > 1
    names = [t.label.removeprefix(f"{dataset} · ") if several else cell_name(loss, column) for t in own]
    others: dict[str, tuple[float, str, list[str]]] = {}
    for row in snapshot.map.rows:
        if row.dataset != dataset:
            continue
        for at, cell in row.cells.items():
            counted = [t.hash for t in cell.trials if t.state in (TrialState.FINISHED, TrialState.RUNNING)]
            score = cell.dsc if cell.dsc is not None else -1.0
            if counted and mine.isdisjoint(counted) and score > others.get(row.loss, (-2.0,))[0]:
                others[row.loss] = score, cell_name(row.loss, snapshot.map.columns[at].label), counted
    best = sorted(others.values(), reverse=True)[:MOST_OTHERS]
    return [
        Group(True, [(name, [t.hash]) for name, t in zip(names, own, strict=True)][:MOST_OTHERS]),
        Group(False, [(name, hashes[:MOST_RUNS]) for _, name, hashes in best]),
    ]


def cell_name(loss: str, column: str) -> str:
    """`dice`, `focal · γ=0.5`."""
    return loss if column == "no γ" else f"{loss} · γ={column}"
