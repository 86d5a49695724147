"""A plan as a text for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sweeper.analysis.power import Enough, plan_lines
from sweeper.grids.names import number
from sweeper.search.space import domain_of
from sweeper.units import duration, size
from sweeper.views.objects import PlanObject
from sweeper.views.on_paper import OnPaperObject, on_paper_columns, on_paper_lines
from trials.states import TrialState


def plan_text(plan: PlanObject, on_paper: OnPaperObject | None = None) -> RenderableType:
    """A plan for a person: a line for each trial, then what they will cost, here or on paper, and what is missing."""
    trials = plan.trials
    with_repeat = len({t.repeat for t in trials}) > 1
    with_fold = any(t.fold is not None for t in trials)
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("trial", no_wrap=True)
    table.add_column("data set", no_wrap=True)
    table.add_column("loss", overflow="fold")
    table.add_column("γ", justify="right", no_wrap=True)
    if with_repeat:
        table.add_column("repeat", justify="right")
    if with_fold:
        table.add_column("fold", justify="right")
    table.add_column("state", no_wrap=True)
    table.add_column("predicted" if on_paper is None else f"on {on_paper.device}", justify="right", no_wrap=True)
    predicted = [duration(t.predicted_seconds) for t in trials] if on_paper is None else map(str, on_paper.trials)
    for t, seconds in zip(trials, predicted, strict=True):
        cells = [t.hash[:8], t.dataset, t.variant, "" if t.gamma is None else number(t.gamma)]
        if with_repeat:
            cells.append(str(t.repeat))
        if with_fold:
            cells.append("" if t.fold is None else str(t.fold))
        finished = t.state == TrialState.FINISHED
        table.add_row(*map(Text, cells), t.state, "" if finished else seconds)
    each = [duration(s.predicted_seconds) for s in plan.searches] if on_paper is None else map(str, on_paper.searches)
    for s, seconds in zip(plan.searches, each, strict=True):
        chosen = "; ".join(str(domain_of(d)) for d in s.domains)
        cells = ["", s.dataset, f"{s.variant}: {chosen}", f"{s.tried} of {s.points}"]
        if with_repeat:
            cells.append("")
        table.add_row(*map(Text, cells), "searched", f"{s.trials_left} × {seconds}")
    return Group(table, Text("\n".join(_closing(plan, on_paper))))


def _closing(plan: PlanObject, on_paper: OnPaperObject | None) -> Sequence[str]:
    trials, done = plan.trials, plan.finished
    total = len(trials)
    finished = [t for t in trials if t.state == TrialState.FINISHED]
    elsewhere = [t.sweep for t in finished if t.sweep not in (None, plan.grid)]
    shared = f" ({len(elsewhere)} of them by {', '.join(dict.fromkeys(elsewhere))})" if elsewhere else ""
    lines = ["", f"grid {plan.grid}: {total} trials, {done} finished{shared}, {total - done} to run"]
    searched = sum(s.trials_left for s in plan.searches)
    if searched:
        epochs = sum(s.epochs_at_most for s in plan.searches)
        lines[-1] += f", and at most {searched} that a search chooses ({epochs} epochs if none is pruned)"
    if done < total or searched:
        lines += [*(_time(plan) if on_paper is None else on_paper_lines(on_paper)), _disk(plan)]
    lines += plan_lines([Enough.from_dict(one.model_dump()) for one in plan.power])
    if plan.missing_data and plan.rehearsal:
        lines.append(f"synthetic files that `launch` writes first: {', '.join(plan.missing_data)}")
    elif plan.missing_data:
        lines.append(f"missing data sets: {', '.join(plan.missing_data)}; `sweeper data list` says how to get each")
        lines += [
            f"  {name}: {where}" for name, where in zip(plan.missing_data, plan.missing_from, strict=False)
        ]  # an older service tells none
    if plan.unprepared_data:
        names = ", ".join(plan.unprepared_data)
        lines.append(f"not prepared yet: {names}; `launch` does that first, and the trials' hashes change with it")
    return [*lines, *(f"warning: {text}" for text in plan.warnings)]


def plan_rows(plan: PlanObject, on_paper: OnPaperObject | None = None) -> list[dict[str, object]]:
    """The plan's table for a program: a row for each trial, without its spec, which `--json` has."""
    rows = [one.model_dump(mode="json", exclude={"spec"}) for one in plan.trials]
    if on_paper is None:
        return rows
    return [{**row, **more} for row, more in zip(rows, on_paper_columns(on_paper.trials), strict=True)]


def _time(plan: PlanObject) -> Iterator[str]:
    """How long it will take, where and until when, and how good that prediction is."""
    where = plan.devices.text
    if not plan.slots:
        yield f"no trial fits on {where}: lower [resources] in the grid"
    else:
        finish = datetime.fromisoformat(plan.predicted_finish).astimezone()
        yield f"time: {duration(plan.predicted_seconds)} on {where}, {plan.slots} at once"
        yield f"finish: about {finish:%Y-%m-%d %H:%M}, if started now"
    error = plan.cost_model_error
    if not plan.costs_measured:
        yield "how sure: a first guess for a CPU core; it learns from the trials that finish here"
    else:
        wrong = "" if error is None else f"; predicting each from the others is {error:.0%} off on average"
        yield f"how sure: learned from finished trials{wrong}"


def _disk(plan: PlanObject) -> str:
    """What it will take on the disk, and whether that is there."""
    needed, prepared, free = plan.predicted_bytes, plan.predicted_bytes_prepared, plan.free_bytes
    of = f" ({size(prepared)} of it prepared data)" if prepared else ""
    without = ", without the data that are missing" if plan.missing_data and not plan.rehearsal else ""
    return f"disk: {size(needed)}{of}{without}; {size(free)} are free" + (
        ": TOO LITTLE, `launch` will refuse" if needed > free else ""
    )
