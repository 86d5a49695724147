"""The home page: every sweep with its state, its progress and the loss that is best on validation. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dashboards.figures.style import short
from storage.records import SweepProgress
from trials.states import SweepState, TrialState

ALL = "all"
NOT_RUNNING = "not running"
"""The state of a sweep that should run and has no living coordinator."""

STATES = (ALL, *(state.value for state in SweepState), NOT_RUNNING)
HEAD = (
    "sweep", "state", "rehearsal", "trials", "ended", *(state.value for state in TrialState), "dataset", "best_loss",
    "gamma", "val_dsc", "runs", "created",
)  # fmt: skip

MOST_BEST = 3
"""Data sets whose best loss is shown; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Best:
    """The loss of a data set with the highest mean validation DSC over its runs; `gamma` None where it has none."""

    dataset: str
    loss: str
    gamma: float | None
    dsc: float
    runs: int

    @property
    def text(self) -> str:
        """`dice on nuclei, 0.812 over 3 runs`."""
        gamma = "" if self.gamma is None else f" at γ = {self.gamma:g}"
        runs = f"{self.runs} run{'' if self.runs == 1 else 's'}"
        return f"{short(self.loss)}{gamma} on {self.dataset}, {self.dsc:.3f} over {runs}"


@dataclass(frozen=True, slots=True)
class Line:
    """A sweep on the home page. `best` is empty where no trial has finished, and None where it could not be told."""

    name: str
    state: str
    rehearsal: bool
    description: str
    counts: Mapping[TrialState, int]
    created: str
    best: Sequence[Best] | None

    @property
    def trials(self) -> int:
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """Trials that neither wait nor run."""
        return self.trials - self.counts.get(TrialState.QUEUED, 0) - self.counts.get(TrialState.RUNNING, 0)

    @property
    def progress(self) -> str:
        """`12 of 88 trials finished, 2 failed, 4 running`."""
        finished = self.counts.get(TrialState.FINISHED, 0)
        others = [
            f"{self.counts[state]} {state.value}"
            for state in TrialState
            if state not in (TrialState.FINISHED, TrialState.QUEUED) and self.counts.get(state)
        ]
        return ", ".join([f"{finished} of {self.trials} trials finished", *others])

    @property
    def shown_best(self) -> Sequence[Best]:
        return (self.best or ())[:MOST_BEST]

    @property
    def more(self) -> int:
        """How many data sets have a best loss that is not shown."""
        return max(len(self.best or ()) - MOST_BEST, 0)


def lines(progress: Iterable[SweepProgress], best: Callable[[SweepProgress], Sequence[Best] | None]) -> list[Line]:
    """A line for each sweep, newest first; `best` tells its best losses."""
    ordered = sorted(progress, key=lambda one: (one.sweep.created_at, one.sweep.id), reverse=True)
    return [
        Line(
            name=one.sweep.name,
            state=_state(one),
            rehearsal=one.sweep.rehearsal,
            description=one.sweep.description.strip().partition("\n")[0],
            counts=one.counts,
            created=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(one.sweep.created_at)),
            best=best(one) if one.counts.get(TrialState.FINISHED) else (),
        )
        for one in ordered
    ]


def filtered(every: Iterable[Line], text: str, state: str) -> list[Line]:
    """Those whose name or description has the text, and which are in the state."""
    wanted = text.strip().casefold()
    return [
        one
        for one in every
        if state in (ALL, one.state) and (wanted in one.name.casefold() or wanted in one.description.casefold())
    ]


def rows(line: Line) -> list[Sequence[object]]:
    """`HEAD` for each data set with a best loss; one row where there is none."""
    own = [
        line.name, line.state, line.rehearsal, line.trials, line.ended,
        *(line.counts.get(state, 0) for state in TrialState),
    ]  # fmt: skip
    found: list[Sequence[object]] = [(b.dataset, b.loss, b.gamma, b.dsc, b.runs) for b in line.best or ()]
    return [(*own, *one, line.created) for one in found or [(None,) * 5]]


def _state(one: SweepProgress) -> str:
    if one.sweep.state is SweepState.RUNNING and not one.held:
        return NOT_RUNNING
    return one.sweep.state.value
