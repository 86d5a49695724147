"""From a snapshot to what the page shows: the grid as JSON for the browser, everything else as text. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypedDict

from dashboards.board.source import Snapshot
from storage.records import SignificanceTest, Trial
from sweeper.analysis.statistical_tests import TESTS
from sweeper.analysis.stored_tests import EQUIVALENCE, NEW_TRAININGS_TEST
from sweeper.timing.pace import Liveness
from sweeper.units import duration
from sweeper.views.heat_map import KIND_WORDS, Cell, HeatMap
from sweeper.views.running import input_bound_words, quiet_words, wait_words
from trials.spec import RESULTS_VERSION
from trials.states import AttemptState, FailureKind, SweepState, TrialState
from workers.tracking import run_page

LEVELS = 7
"""Shades of the heat map."""

MOST_FAILURES = 100
"""Failed trials that are listed one by one."""

MOST_PAIRS = 50
"""Pairs of losses that are listed for a data set and class."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed trial."""

    trial: str
    label: str
    kind: str
    error: str
    attempts: int
    run: str


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A trial that is running, and where."""

    label: str
    host: str
    pid: str
    device: str
    epoch: str
    dsc: str
    since: str
    last: str
    wait: str
    run: str


class GridData(TypedDict):
    """The heat map as JSON.

    `columns` are names, `rows` data set and loss, `cells` lists of row, column, state, text, shade from 0 to 6 or −1,
    and what else a reader should know.
    """

    sweep: str
    columns: list[str]
    rows: list[list[str]]
    cells: list[list[int | str]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of losses of a data set and class with every stored test: a table of text.

    `left_out` counts the pairs that are not shown.
    """

    place: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int


def pairs(tests: Sequence[SignificanceTest]) -> list[Pairs]:
    """The stored tests, the smallest corrected p about new trainings first (over images only where there is none)."""
    tests = [test for test in tests if not test.test.startswith(EQUIVALENCE)]
    made = dict.fromkeys(t.test for t in tests)
    ours = [name for name in (NEW_TRAININGS_TEST, *TESTS) if name in made]
    known = ours + [name for name in made if name not in ours]
    headings = {name: TESTS[name].heading if name in TESTS else name for name in known}
    places: dict[str, dict[tuple[str, str], dict[str, SignificanceTest]]] = {}
    for test in tests:
        own = places.setdefault(f"{test.dataset}, {test.label}", {})
        own.setdefault((test.first, test.second), {})[test.test] = test
    head = ("first", "second", *(text for name in known for text in _heads(name, headings[name])))
    found = []
    for place, own in places.items():
        ordered = sorted(own.items(), key=lambda item: _p_value(item[1], known))
        rows = tuple(
            (first, second, *(text for name in known for text in _test_texts(by_test.get(name))))
            for (first, second), by_test in ordered[:MOST_PAIRS]
        )
        found.append(Pairs(place, head, rows, len(ordered) - len(rows)))
    return found


def grid(snapshot: Snapshot) -> GridData:
    """The heat map for the browser."""
    shown = snapshot.map
    shades = _shades(shown)
    return {
        "sweep": snapshot.sweep.name,
        "columns": [c.label for c in shown.columns],
        "rows": [[row.dataset, row.loss] for row in shown.rows],
        "cells": [
            [r, c, cell.state.value, cell_text(cell), _shade(cell.dsc, shades.get(row.dataset)), _extra(cell)]
            for r, row in enumerate(shown.rows)
            for c, cell in row.cells.items()
        ],
    }


def cell_text(cell: Cell) -> str:
    """The text of a cell: `0.812`, `▸12 0.80`, `✗ nan`, `·`. It says without colour what the colour says."""
    if cell.dsc is not None:
        sign = {TrialState.FINISHED: "", TrialState.RUNNING: " ▸", TrialState.FAILED: " ✗", TrialState.QUEUED: " ·"}
        return f"{cell.dsc:.3f}{sign.get(cell.state, ' …')}"
    if cell.state is TrialState.RUNNING:
        epoch = f"▸{cell.epoch}" if cell.epoch else "▸"
        return epoch if cell.live is None else f"{epoch} {cell.live:.2f}"
    if cell.state is TrialState.FAILED:
        return f"✗ {KIND_WORDS[cell.failure]}" if cell.failure else "✗"
    return {TrialState.QUEUED: "·", TrialState.FINISHED: "done"}.get(cell.state, cell.state.value)


def trials_of(snapshot: Snapshot, dataset: str, loss: str, column: str) -> tuple[Trial, ...]:
    """The trials of one cell; none where there is no such cell."""
    for row in snapshot.map.rows:
        if (row.dataset, row.loss) == (dataset, loss):
            for at, cell in row.cells.items():
                if snapshot.map.columns[at].label == column:
                    return cell.trials
    return ()


def over_runs(snapshot: Snapshot, dataset: str, loss: str, column: str) -> str:
    """A sentence with the means of a cell over its runs, and their intervals; empty where there are no several runs."""
    means = snapshot.means
    own = means[(means["dataset"] == dataset) & (means["variant"] == loss)]
    gammas = {t.gamma for t in trials_of(snapshot, dataset, loss, column)}
    if len(gammas) != 1:
        return ""  # a range of γ
    (gamma,) = gammas
    own = own[own["gamma"].isna() if gamma is None else own["gamma"] == gamma]
    if own.empty or own["repeats"].iloc[0] < 2:
        return ""
    row = own.iloc[0]
    return (
        f"Mean over {row['repeats']} runs, with its 95% interval over runs: validation DSC {row['val_dsc']:.3f} ± "
        f"{row['val_half_width']:.3f}, test DSC {row['test_dsc']:.3f} ± {row['test_half_width']:.3f}."
    )


def banners(snapshot: Snapshot) -> list[str]:
    """Warnings."""
    found = []
    if snapshot.sweep.rehearsal:
        found.append("REHEARSAL: tiny trials on synthetic files. Its scores say nothing about the losses.")
    kinds = {t.spec.data.provenance for t in snapshot.trials}
    if "synthetic" in kinds and not snapshot.sweep.rehearsal:
        found.append("Synthetic images: made by this program, they say nothing about real ones.")
    outdated = sum(t.results_version != RESULTS_VERSION for t in snapshot.trials)
    if outdated:
        found.append(f"{outdated} trials have results of another version; curves leave them out.")
    return found


def headline(snapshot: Snapshot) -> str:
    """`running; 12 of 88 trials finished`."""
    counts = Counter(t.state for t in snapshot.trials)
    state = snapshot.sweep.state.value
    if snapshot.lease is None and snapshot.sweep.state in (SweepState.RUNNING, SweepState.QUEUED):
        state = "not running" if snapshot.sweep.state is SweepState.RUNNING else "queued"
    return f"{state}; {counts[TrialState.FINISHED]} of {len(snapshot.trials)} trials finished"


def facts(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Names and values of the status at the top."""
    counts = Counter(t.state for t in snapshot.trials)
    rows = [("Trials", ", ".join(f"{counts[s]} {s.value}" for s in TrialState if counts[s]) or "none")]
    pace = snapshot.pace
    waiting = counts[TrialState.QUEUED] + counts[TrialState.RUNNING]
    if pace.left is not None and waiting and snapshot.lease is not None:
        planned = "" if pace.measured else "; a plan, since no trial has finished yet"
        rows.append(("Finish", f"in about {duration(pace.left)}, {_clock(snapshot.now + pace.left)}{planned}"))
    elif waiting:
        rows.append(("Finish", f"nobody is running it; resume it with: sweeper resume {snapshot.sweep.name}"))
    elif snapshot.sweep.finished_at is not None:
        rows.append(("Ended", _clock(snapshot.sweep.finished_at)))
    if pace.per_hour is not None and snapshot.lease is not None:
        rate = f"{pace.per_hour:,.0f}" if pace.per_hour >= 10 else f"{pace.per_hour:.1f}"
        rows.append(("Throughput", f"{rate} trials an hour"))
    if snapshot.lease is not None:
        rows.append(("Coordinator", snapshot.lease.holder))
    if snapshot.sweep.reason:
        rows.append(("Reason", snapshot.sweep.reason))
    open_requests = [r for r in snapshot.requests if r.done_at is None]
    if open_requests:
        rows.append(("Requested", ", ".join(dict.fromkeys(r.verb for r in open_requests)) + "; not done yet"))
    rows.append(("As of", _clock(snapshot.now)))
    return rows


def running_trials(snapshot: Snapshot, mlflow: str) -> list[RunningTrial]:
    """The running trials, in the order in which they started; without those that a lost coordinator left as running."""
    own = {t.hash: t for t in snapshot.trials}
    return [
        RunningTrial(
            label=own[a.trial].label,
            host=a.host or "–",
            pid="–" if a.pid is None else str(a.pid),
            device=a.device or "–",
            epoch=f"{own[a.trial].epochs} of {own[a.trial].spec.training.epochs}",
            dsc=f"{snapshot.newest[a.trial].val_dsc:.3f}" if a.trial in snapshot.newest else "–",
            since=duration(max(snapshot.now - a.started_at, 0.0)),
            last=_last_sign(snapshot.alive.get(a.trial), own[a.trial].epochs),
            wait=_wait(snapshot.alive.get(a.trial)),
            run=run_page(mlflow, own[a.trial].mlflow_run),
        )
        for a in snapshot.attempts
        if a.state is AttemptState.RUNNING and a.trial in own and snapshot.lease is not None
    ]


def _last_sign(alive: Liveness | None, epochs: int | None) -> str:
    return "–" if alive is None else quiet_words(alive.quiet, epochs, slow=alive.slow)


def _wait(alive: Liveness | None) -> str:
    known = None if alive is None else alive.wait
    return "–" if known is None else wait_words(known.share, bound=known.bound)


def input_bound(snapshot: Snapshot) -> str:
    """What a person is told where running trials wait for their input; empty where none does."""
    count = sum(alive.wait is not None and alive.wait.bound for alive in snapshot.alive.values())
    return input_bound_words(count) if count else ""


def failures(snapshot: Snapshot, mlflow: str) -> list[Failure]:
    """The failed trials in the order of the grid."""
    return [
        Failure(
            trial=t.hash,
            label=t.label,
            kind=kind_words(t.failure),
            error=first_line(t.error or ""),
            attempts=t.attempts,
            run=run_page(mlflow, t.mlflow_run),
        )
        for t in snapshot.trials
        if t.state is TrialState.FAILED
    ]


def kind_words(kind: FailureKind | None) -> str:
    """`diverged (the loss became NaN)`, `out of memory`."""
    if kind is FailureKind.DIVERGED:
        return "diverged (the loss became NaN)"
    return "failed" if kind is None else kind.value.replace("_", " ")


def first_line(text: str, limit: int = 300) -> str:
    """The first line of an error, cut where it is long."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _extra(cell: Cell) -> str:
    """What the short text of a cell leaves out."""
    parts = []
    several = len(cell.trials) > 1
    if several:
        parts.append(", ".join(f"{n} {state.value}" for state, n in cell.counts.items()))
    if cell.dsc is not None and (several or cell.state is not TrialState.FINISHED):
        parts.append(f"mean validation DSC {cell.dsc:.3f}")
    if cell.epoch:
        live = "" if cell.live is None else f", validation DSC {cell.live:.3f}"
        parts.append(f"epoch {cell.epoch} of {cell.epochs}{live}")
    if cell.failure is not None:
        parts.append(kind_words(cell.failure))
    return "; ".join(parts)


def _p_value(tests: Mapping[str, SignificanceTest], order: Sequence[str]) -> float:
    """The corrected p of the first of these tests that has one."""
    found = (tests[name].p_holm for name in order if name in tests)
    return next((p for p in found if p is not None), 2.0)


def _heads(name: str, heading: str) -> tuple[str, str, str]:
    if name == NEW_TRAININGS_TEST:
        return "new trainings: difference", "p", "Holm"
    return f"images only, {heading} p", "Holm", "effect"


def _test_texts(test: SignificanceTest | None) -> tuple[str, str, str]:
    """p, corrected p and effect of a test; the difference first where it is about new trainings."""
    if test is None:
        return "–", "–", "–"
    p, corrected = ("–" if v is None else "< 0.001" if v < 0.001 else f"{v:.3f}" for v in (test.p, test.p_holm))
    if test.test == NEW_TRAININGS_TEST:
        return "–" if test.median_difference is None else _signed(f"{test.median_difference:+.3f}"), p, corrected
    return p, corrected, "–" if test.effect is None else _signed(f"{test.effect:+.2f}")


def _signed(number: str) -> str:
    return number.replace("-", "−")


def _shades(shown: HeatMap) -> Mapping[str, tuple[float, float]]:
    """The lowest and the highest DSC of each data set: losses are compared within one, never between two."""
    found: dict[str, list[float]] = {}
    for row in shown.rows:
        found.setdefault(row.dataset, []).extend(c.dsc for c in row.cells.values() if c.dsc is not None)
    return {dataset: (min(values), max(values)) for dataset, values in found.items() if values}


def _shade(dsc: float | None, span: tuple[float, float] | None) -> int:
    if dsc is None or span is None:
        return -1
    low, high = span
    return LEVELS - 1 if high <= low else min(int((dsc - low) / (high - low) * LEVELS), LEVELS - 1)


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
