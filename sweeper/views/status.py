"""How a sweep stands, from the database alone: for a program, and for a person."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from storage.records import Trial
from storage.repository import Repository
from sweeper.grids.names import naming_of, number, variants
from sweeper.search.space import family, point
from sweeper.units import duration
from trials.spec import is_external
from trials.states import FailureKind, SweepState, TrialState

if TYPE_CHECKING:
    from sweeper.session import Session

LISTED_TRIALS, MANY_TRIALS = 50, 300
"""Of more than these many trials, so few are listed: to read and lay out thousands takes seconds, and nobody does."""


def status_object(repository: Repository, name: str, *, brief: bool = False) -> dict[str, Any]:
    """The sweep and its trials' states, as JSON values.

    `failures` counts the failed trials by kind, `again` the failed and lost attempts at the others, `setbacks` those at
    one trial. A lease's
    `seconds_left` are negative once it has run out.

    Args:
        repository: the database.
        name: the sweep's.
        brief: of many trials, only those that one would look for first.
    """
    sweep, ends, lease = repository.sweep(name), repository.ends(name), repository.lease(name)
    counts, failures, again = Counter[str](), Counter[str](), Counter[str]()
    for (state, kind), count in ends.items():
        counts[state.value] += count
        if state is TrialState.FAILED and kind is not None:
            failures[kind.value] += count
    setbacks = repository.setbacks(name)
    for kinds in repository.setbacks(name, but_of=TrialState.FAILED).values():
        again.update({kind.value: count for kind, count in kinds.items()})
    some = brief and counts.total() > MANY_TRIALS
    trials = repository.trials(name, LISTED_TRIALS if some else None)
    naming, searches = naming_of(sweep.grid, trials), sweep.details.get("search", {})
    named = zip(naming.labelled(trials), variants(trials, naming), strict=True)
    everything = repository.trials(name) if searches and some else trials
    now = repository.database.now()
    return {
        "sweep": sweep.name,
        "state": sweep.state.value,
        "reason": sweep.reason,
        "rehearsal": sweep.rehearsal,
        "counts": {state.value: counts[state.value] for state in TrialState},
        "failures": dict(failures),
        "again": dict(again),
        "lease": None
        if lease is None
        else {
            "holder": lease.holder,
            "expires_at": lease.expires_at,
            "expired": lease.expires_at <= now,
            "seconds_left": lease.expires_at - now,
        },
        "searches": [
            {
                "study": study,
                "sampler": search["settings"]["sampler"],
                "pruner": search["settings"]["pruner"],
                "tried": len(tried_points(study, search, everything)),
                "points": search["points"],
            }
            for study, search in searches.items()
        ],
        "trials": [
            {
                "hash": t.hash,
                "label": t.label,
                "dataset": t.dataset,
                "loss": t.loss,
                "variant": variant,
                "gamma": t.gamma,
                "repeat": t.repeat,
                "seed": t.seed,
                "state": t.state.value,
                "attempts": t.attempts,
                "epochs": t.epochs,
                "setbacks": {kind.value: count for kind, count in setbacks.get(t.hash, {}).items()},
                "failure": None if t.failure is None else t.failure.value,
                "error": t.error,
                "val_dsc": t.val_dsc,
                "test_dsc": t.test_dsc,
                "train_seconds": t.train_seconds,
                "mlflow_run": t.mlflow_run,
                "sweep": t.sweep,
            }
            for t, variant in named
        ],
    }


def status_text(status: Mapping[str, Any]) -> RenderableType:
    """A `status_object` for a person: the sweep's state, what to do next, and a line for each trial."""
    name, trials, lease = status["sweep"], status["trials"], status["lease"]
    parts = [f"{count} {state}" for state, count in status["counts"].items() if count]
    marked = f"{status['state']}{' (REHEARSAL)' if status['rehearsal'] else ''}"
    lines = [f"{name}: {marked}; {', '.join(parts)}" if parts else f"{name}: {marked}"]
    if status["reason"]:
        lines.append(f"reason: {status['reason']}")
    alive = lease is not None and not lease["expired"]
    if lease is not None and not alive:
        ago = duration(-lease["seconds_left"])
        lines.append(f"its coordinator {lease['holder']} is gone without a word: its lease ran out {ago} ago")
    if alive:
        left = duration(lease["seconds_left"])
        lines.append(f"run by {lease['holder']}; its lease runs out in {left} unless it is renewed")
    if again := _kinds(status["again"]):
        lines.append(f"attempts that were tried again, or will be: {again}")
    lines += _advice(status, alive=alive)
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    with_repeat = len({t["repeat"] for t in trials}) > 1
    table.add_column("trial", no_wrap=True)
    table.add_column("data set", no_wrap=True)
    table.add_column("loss", overflow="fold")
    table.add_column("γ", justify="right", no_wrap=True)
    if with_repeat:
        table.add_column("repeat", justify="right", no_wrap=True)
    table.add_column("state")
    for title in ("epoch", "val", "test", "time"):
        table.add_column(title, justify="right", no_wrap=True)
    for t in trials:
        state = t["state"] if t["failure"] is None else f"{t['state']}: {_words(t['failure'])}"
        if t["state"] == TrialState.QUEUED and t["setbacks"]:
            state += f" (after {_kinds(t['setbacks'])})"
        cells = [t["hash"][:8], t["dataset"], t["variant"], "" if t["gamma"] is None else number(t["gamma"])]
        if with_repeat:
            cells.append(str(t["repeat"]))
        cells += [state, str(t["epochs"] or ""), _number(t["val_dsc"]), _number(t["test_dsc"])]
        cells.append("" if t["train_seconds"] is None else duration(t["train_seconds"]))
        table.add_row(*map(Text, cells))
    lines += [
        f"search {s['study']}: {s['tried']} of {s['points']} points tried ({s['sampler']}, pruner {s['pruner']})"
        for s in status.get("searches", ())
    ]
    if len(trials) < (total := sum(status["counts"].values())):
        lines.append(f"{len(trials)} of {total:,} trials are listed; all: sweeper status {name} --json")
    lines.append("val, test: mean DSC over images and classes\n")
    return Group(Text("\n".join(lines)), table)


def tried_points(
    study: str, search: Mapping[str, Any], trials: Sequence[Trial]
) -> dict[tuple[float, ...], list[Trial]]:
    """The trials that a search suggested, by the values that it chose, in the order of suggestion.

    Args:
        study: its name.
        search: what the sweep remembers of it (`SearchStudy.to_dict`).
        trials: of the sweep.
    """
    names = tuple(domain["name"] for domain in search["domains"])
    found: dict[tuple[float, ...], list[Trial]] = {}
    for trial in trials:
        if trial.study == study and family(trial.spec.to_dict(), names) == search["family"]:
            found.setdefault(tuple(point(trial.spec.to_dict(), names).values()), []).append(trial)
    return found


def trial_object(repository: Repository, prefix: str) -> dict[str, Any]:
    """Everything about one trial, as JSON values.

    Raises:
        UnknownTrialError: no trial, or more than one, whose hash starts so.
    """
    trial = repository.trial(prefix)
    if trial.sweep is not None:
        (trial,) = naming_of(repository.sweep(trial.sweep).grid).labelled([trial])
    return {
        "hash": trial.hash,
        "label": trial.label,
        "state": trial.state.value,
        "failure": None if trial.failure is None else trial.failure.value,
        "error": trial.error,
        "sweep": trial.sweep,
        "seed": trial.seed,
        "results_version": trial.results_version,
        "best_epoch": trial.best_epoch,
        "epochs": trial.epochs,
        "val_dsc": trial.val_dsc,
        "test_dsc": trial.test_dsc,
        "parameters": trial.parameters,
        "train_seconds": trial.train_seconds,
        "mlflow_run": trial.mlflow_run,
        "attempts": [
            {
                "number": a.number,
                "state": a.state.value,
                "failure": None if a.kind is None else a.kind.value,
                "error": a.error,
                "host": a.host,
                "device": a.device,
                "resumed_from": a.resumed_from,
                "steps": a.steps,
                "started_at": a.started_at,
                "ended_at": a.ended_at,
                "last_words": a.stderr_tail,
            }
            for a in repository.attempts(trial.hash)
        ],
        "spec": trial.spec.to_dict(),
    }


def trial_text(trial: Mapping[str, Any]) -> RenderableType:
    """A `trial_object` for a person."""
    head = Table(box=None, show_header=False)
    for key, value in (
        ("hash", trial["hash"]),
        ("trial", trial["label"]),
        ("state", trial["state"]),
        ("failure", "" if trial["failure"] is None else f"{trial['failure']}: {trial['error']}"),
        ("run by sweep", trial["sweep"] or ""),
        ("seed", str(trial["seed"])),
        ("results version", str(trial["results_version"])),
        ("best epoch", f"{trial['best_epoch'] or ''} of {trial['epochs']}"),
        ("validation DSC", _number(trial["val_dsc"])),
        ("test DSC", _number(trial["test_dsc"])),
        ("parameters", "" if trial["parameters"] is None else f"{trial['parameters']:,}"),
        ("MLflow run", trial["mlflow_run"] or ""),
    ):
        if value:
            head.add_row(Text(key, style="bold"), Text(value))
    blocks: list[RenderableType] = [head, Text("")]
    attempts = Table(box=None, header_style="bold", title="attempts", title_justify="left")
    for title in ("#", "state", "host", "device", "from epoch", "steps", "error"):
        attempts.add_column(title)
    for a in trial["attempts"]:
        state = a["state"] if a["failure"] is None else f"{a['state']}: {a['failure']}"
        numbers = str(a["resumed_from"]), str(a["steps"])
        cells = (str(a["number"]), state, a["host"], a["device"] or "", *numbers, a["error"] or "")
        attempts.add_row(*map(Text, cells))
    blocks += [attempts, Text("")]
    blocks += [
        Text(f"last words of attempt {a['number']}:\n{a['last_words']}") for a in trial["attempts"] if a["last_words"]
    ]
    settings = Table(box=None, show_header=False, title="spec", title_justify="left")
    for group, value in trial["spec"].items():
        for key, entry in value.items() if isinstance(value, dict) else (("", value),):
            settings.add_row(Text(f"{group}.{key}".strip(".")), Text(str(entry)))
    blocks.append(settings)
    return Group(*blocks)


def closing_text(now: Session, name: str, report: Sequence[Path]) -> RenderableType:
    """What `launch` ends with: the best trial, and how to look at everything.

    The pages of servers are named where people reach them; files and a local store by the commands that open them.
    """
    stored = now.repository.trials(name)
    trials = [t for t in stored if t.state is TrialState.FINISHED and not is_external(t.spec)]
    naming = naming_of(now.repository.sweep(name).grid, stored)
    lines = [""]
    for dataset in dict.fromkeys(t.dataset for t in trials):
        best = max((t for t in trials if t.dataset == dataset), key=lambda t: t.val_dsc or 0.0)
        gamma = "" if best.gamma is None else f" at γ = {number(best.gamma)}"
        (variant,) = variants([best], naming)
        lines.append(f"{dataset}: best on validation is {variant}{gamma}, with test DSC {_number(best.test_dsc)}")
    lines += ["", "Look at it:"]
    if now.settings.board_url:
        lines.append(f"  {now.settings.board_url}  (the board)")
    elif report:
        lines.append(f"  xdg-open {_short(report[0])}")
    if now.settings.mlflow.startswith(("http://", "https://")):
        lines.append(f"  {now.settings.mlflow_url or now.settings.mlflow}  (MLflow, with the report)")
    else:
        lines.append(f"  {_command('mlflow')} ui --backend-store-uri {now.settings.mlflow}")
    lines.append(f"  {_command('sweeper')} status {name}")
    return Text("\n".join(lines))


_MENDS = {
    FailureKind.LOST: "lost their worker each time; see `sweeper show HASH`",
    FailureKind.OUT_OF_MEMORY: "ran out of memory; a smaller batch or patch, or fewer at once, helps",
    FailureKind.DISK_FULL: "found the disk full; make room",
    FailureKind.BAD_DATA: "met bad data; `sweeper show HASH` names the file",
    FailureKind.BAD_SETTINGS: "have settings that cannot work; see `sweeper show HASH`",
    FailureKind.BUG: "met a bug, perhaps in a plug-in; see `sweeper show HASH`",
}


def _advice(status: Mapping[str, Any], *, alive: bool) -> list[str]:
    """The next step for whoever looks."""
    name, counts, failures = status["sweep"], status["counts"], status["failures"]
    lines = [f"{failures[kind]} {mend}" for kind, mend in _MENDS.items() if kind in failures]
    if lines:
        lines.append(f"then: sweeper retry {name} --failed")
    if diverged := failures.get(FailureKind.DIVERGED):
        lines.append(f"{diverged} diverged (loss became NaN): a result of that loss, not retried")
    if alive:
        lines.append(f"end it with: sweeper stop {name}")
    elif any(counts.get(state) for state in (TrialState.QUEUED, TrialState.RUNNING)):
        lines.append(f"nobody is running it; go on with: sweeper resume {name}")
    elif status["state"] == SweepState.FINISHED and not lines:
        lines.append(f"report: sweeper report {name}")
    return lines


def _kinds(counts: Mapping[str, int]) -> str:
    """`2 lost, 1 out of memory`."""
    return ", ".join(f"{count} {_words(kind)}" for kind, count in Counter(counts).most_common())


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _command(name: str) -> str:
    """How to call a program of this installation from the current folder."""
    beside = Path(sys.executable).parent / name
    on_path = any((Path(folder) / name).exists() for folder in os.environ.get("PATH", "").split(os.pathsep) if folder)
    return name if on_path or not beside.exists() else _short(beside)


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
