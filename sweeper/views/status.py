"""The status of a sweep, read from the database: as JSON for a program, as text for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from storage.records import Trial
from storage.repository import Repository
from sweeper.grids.details import details_of
from sweeper.grids.names import naming_of, number, variants
from sweeper.search.details import SearchDetails
from sweeper.search.space import family, point
from sweeper.timing.pace import Liveness
from sweeper.units import duration
from sweeper.views.groups import groups_of
from sweeper.views.objects import (
    AttemptObject,
    Counts,
    GroupStatus,
    Lease,
    SearchStatus,
    SweepStatus,
    SweepSummary,
    TrialObject,
    TrialStatus,
)
from sweeper.views.running import input_bound_words, quiet_words, running, wait_words
from trials.input_wait import waiting_share
from trials.states import FailureKind, SweepState, TrialState

MANY_GROUPS = 60
"""A sweep of more groups shows each loss once."""

LISTED_TRIALS, MANY_TRIALS = 50, 300
"""A sweep of more than `MANY_TRIALS` lists only `LISTED_TRIALS`: to read and show thousands takes seconds."""


def status_of(repository: Repository, name: str, *, brief: bool = False) -> SweepStatus:
    """The sweep and its trials' states.

    Args:
        repository: the database.
        name: the sweep's.
        brief: list only the first trials of a large sweep.
    """
    sweep, ends, lease = repository.sweep(name), repository.ends(name), repository.lease(name)
    counts, failures, again = Counter[TrialState](), Counter[FailureKind](), Counter[FailureKind]()
    for (state, kind), count in ends.items():
        counts[state] += count
        if state is TrialState.FAILED and kind is not None:
            failures[kind] += count
    setbacks = repository.setbacks(name)
    for kinds in repository.setbacks(name, but_of=TrialState.FAILED).values():
        again.update(kinds)
    some = brief and counts.total() > MANY_TRIALS
    trials = repository.trials(name, LISTED_TRIALS if some else None)
    everything = repository.trials(name) if some else trials
    naming, searches = naming_of(sweep.grid, everything), details_of(sweep).searches
    named = zip(naming.labelled(trials), variants(trials, naming), strict=True)
    now = repository.database.now()
    alive = running(repository, trials, repository.attempts_of_sweep(name), now) if counts[TrialState.RUNNING] else {}
    return SweepStatus(
        sweep=sweep.name,
        state=sweep.state,
        reason=sweep.reason,
        rehearsal=sweep.rehearsal,
        counts=Counts.of(counts),
        failures=dict(failures),
        again=dict(again),
        lease=None
        if lease is None
        else Lease(
            holder=lease.holder,
            expires_at=lease.expires_at,
            expired=lease.expires_at <= now,
            seconds_left=lease.expires_at - now,
        ),
        searches=[
            SearchStatus(
                study=study,
                sampler=search.settings.sampler,
                pruner=search.settings.pruner,
                tried=len(tried_points(study, search, everything)),
                points=search.points,
            )
            for study, search in searches.items()
        ],
        groups=groups_of(everything, naming),
        not_reproducible=sum(not trial.spec.training.deterministic for trial in everything),
        trials=[_trial_status(t, variant, setbacks.get(t.hash, {}), alive.get(t.hash)) for t, variant in named],
    )


def _trial_status(
    trial: Trial, variant: str, setbacks: Mapping[FailureKind, int], alive: Liveness | None
) -> TrialStatus:
    wait = None if alive is None else alive.wait
    return TrialStatus(
        hash=trial.hash,
        label=trial.label,
        dataset=trial.dataset,
        loss=trial.loss,
        variant=variant,
        gamma=trial.gamma,
        repeat=trial.repeat,
        fold=trial.spec.data.fold,
        seed=trial.seed,
        state=trial.state,
        attempts=trial.attempts,
        epochs=trial.epochs,
        setbacks=dict(setbacks),
        failure=trial.failure,
        error=trial.error,
        val_dsc=trial.val_dsc,
        test_dsc=trial.test_dsc,
        train_seconds=trial.train_seconds,
        mlflow_run=trial.mlflow_run,
        sweep=trial.sweep,
        quiet_seconds=None if alive is None else alive.quiet,
        slow=alive is not None and alive.slow,
        input_wait=None if wait is None else wait.share,
        input_bound=wait is not None and wait.bound,
    )


def summaries(repository: Repository) -> list[SweepSummary]:
    """A line for each sweep, newest first."""
    return [
        SweepSummary(
            sweep=sweep.name,
            state=sweep.state,
            reason=sweep.reason,
            rehearsal=sweep.rehearsal,
            counts=Counts.of(repository.counts(sweep.name)),
            created_at=sweep.created_at,
            finished_at=sweep.finished_at,
        )
        for sweep in sorted(repository.sweeps(), key=lambda s: s.created_at, reverse=True)
    ]


def status_text(status: SweepStatus, *, trials: bool = False) -> RenderableType:
    """A status for a person: the sweep's state, what to do next, a line for each data set and loss, and one for each
    trial that runs or has failed, or for all (`trials`)."""
    listed = trials or not status.groups
    shown = status.trials if listed else [t for t in status.trials if t.state in _TELLING or t.setbacks]
    blocks: list[RenderableType] = [Text("\n".join(_head(status, listed=listed)))]
    if status.groups:
        blocks += [_groups_table(status.groups), Text("")]
    return Group(*blocks, *([_trials_table(shown)] if shown else []))


_TELLING = (TrialState.RUNNING, TrialState.FAILED)
"""The states of the trials that a status lists in any case."""


def _head(status: SweepStatus, *, listed: bool) -> list[str]:
    name, trials, lease = status.sweep, status.trials, status.lease
    parts = [f"{count} {state}" for state, count in status.counts.items() if count]
    marked = f"{status.state}{' (REHEARSAL)' if status.rehearsal else ''}"
    lines = [f"{name}: {marked}; {', '.join(parts)}" if parts else f"{name}: {marked}"]
    if status.reason:
        lines.append(f"reason: {status.reason}")
    alive = lease is not None and not lease.expired
    if lease is not None and lease.expired:
        ago = duration(-lease.seconds_left)
        lines.append(f"its coordinator {lease.holder} is lost: its lease expired {ago} ago")
    elif lease is not None:
        left = duration(lease.seconds_left)
        lines.append(f"run by {lease.holder}; its lease expires in {left} unless it is renewed")
    if again := _kinds(status.again):
        lines.append(f"attempts that were or will be retried: {again}")
    lines += _advice(status, alive=alive)
    if bound := sum(t.input_bound for t in trials):
        lines.append(input_bound_words(bound))
    if status.not_reproducible:
        lines.append(f"not reproducible (training.deterministic = false): {status.not_reproducible:,} trials")
    lines += [
        f"search {s.study}: {s.tried} of {s.points} points tried ({s.sampler}, pruner {s.pruner})"
        for s in status.searches
    ]
    total = status.counts.total
    if listed and len(trials) < total:
        lines.append(f"{len(trials)} of {total:,} trials are listed; all: sweeper status {name} --json")
    elif not listed and total:
        lines.append(f"every trial: sweeper status {name} --trials")
    if len(datasets := {t.dataset for t in trials}) == 1:
        lines.append(f"data set: {datasets.pop()}")
    over = "; ±: half of its 95% interval over runs" if any(g.half_width is not None for g in status.groups) else ""
    lines.append(f"val, test: mean DSC over images and classes{over}\n")
    return lines


def _groups_table(groups: Sequence[GroupStatus]) -> Table:
    """A line for each data set, loss and γ; of very many, one for each loss, at the γ that validation would choose."""
    if len(groups) > MANY_GROUPS:
        best: dict[tuple[str, str], GroupStatus] = {}
        for one in groups:
            known = best.setdefault((one.dataset, one.variant), one)
            if (one.val_dsc or 0.0) > (known.val_dsc or 0.0):
                best[one.dataset, one.variant] = one
        groups = list(best.values())[:MANY_GROUPS]
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    with_dataset = len({g.dataset for g in groups}) > 1
    if with_dataset:
        table.add_column("data set", no_wrap=True)
    table.add_column("loss", overflow="fold")
    for title in ("γ", "runs", "val", "test", "±"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("trials")
    for g in groups:
        states = ", ".join(f"{count} {state}" for state, count in g.counts.items() if count)
        cells = [
            *([g.dataset] if with_dataset else []),
            g.variant,
            "" if g.gamma is None else number(g.gamma),
            str(g.runs or ""),
            _number(g.val_dsc),
            _number(g.test_dsc),
            _number(g.half_width),
            states,
        ]
        table.add_row(*map(Text, cells))
    return table


def _trials_table(trials: Sequence[TrialStatus]) -> Table:
    """A line for each trial."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    with_repeat = len({t.repeat for t in trials}) > 1
    with_fold = any(t.fold is not None for t in trials)
    with_dataset = len({t.dataset for t in trials}) > 1
    with_wait = any(t.input_wait is not None for t in trials)
    table.add_column("trial", no_wrap=True)
    if with_dataset:
        table.add_column("data set", no_wrap=True)
    table.add_column("loss", overflow="fold")
    table.add_column("γ", justify="right", no_wrap=True)
    if with_repeat:
        table.add_column("repeat", justify="right", no_wrap=True)
    if with_fold:
        table.add_column("fold", justify="right", no_wrap=True)
    table.add_column("state")
    for title in ("epoch", "val", "test", "time"):
        table.add_column(title, justify="right", no_wrap=True)
    if with_wait:
        table.add_column("waits for input", justify="right")
    for t in trials:
        state = t.state.value if t.failure is None else f"{t.state}: {_words(t.failure)}"
        if t.state is TrialState.QUEUED and t.setbacks:
            state += f" (after {_kinds(t.setbacks)})"
        if t.quiet_seconds is not None:
            state += f", {quiet_words(t.quiet_seconds, t.epochs, slow=t.slow)}"
        cells = [
            t.hash[:8],
            *([t.dataset] if with_dataset else []),
            t.variant,
            "" if t.gamma is None else number(t.gamma),
        ]
        if with_repeat:
            cells.append(str(t.repeat))
        if with_fold:
            cells.append("" if t.fold is None else str(t.fold))
        cells += [state, str(t.epochs or ""), _number(t.val_dsc), _number(t.test_dsc)]
        cells.append("" if t.train_seconds is None else duration(t.train_seconds))
        if with_wait:
            cells.append(wait_words(t.input_wait, bound=t.input_bound))
        table.add_row(*map(Text, cells))
    return table


def tried_points(study: str, search: SearchDetails, trials: Sequence[Trial]) -> dict[tuple[float, ...], list[Trial]]:
    """The trials that a search suggested, by the values that it chose, in the order of suggestion.

    Args:
        study: its name.
        search: what the sweep remembers of it.
        trials: of the sweep.
    """
    names = search.names
    found: dict[tuple[float, ...], list[Trial]] = {}
    for trial in trials:
        if trial.study == study and family(trial.spec, names) == search.family:
            found.setdefault(tuple(point(trial.spec, names).values()), []).append(trial)
    return found


def trial_of(repository: Repository, prefix: str) -> TrialObject:
    """Everything about one trial.

    Raises:
        UnknownTrialError: no trial, or more than one, whose hash starts so.
    """
    trial = repository.trial(prefix)
    if trial.sweep is not None:
        (trial,) = naming_of(repository.sweep(trial.sweep).grid).labelled([trial])
    return TrialObject(
        hash=trial.hash,
        label=trial.label,
        state=trial.state,
        failure=trial.failure,
        error=trial.error,
        sweep=trial.sweep,
        seed=trial.seed,
        results_version=trial.results_version,
        best_epoch=trial.best_epoch,
        epochs=trial.epochs,
        val_dsc=trial.val_dsc,
        test_dsc=trial.test_dsc,
        parameters=trial.parameters,
        train_seconds=trial.train_seconds,
        input_wait=waiting_share(repository.epochs(trial.hash)),
        mlflow_run=trial.mlflow_run,
        attempts=[
            AttemptObject(
                number=a.number,
                state=a.state,
                failure=a.kind,
                error=a.error,
                host=a.host,
                device=a.device,
                resumed_from=a.resumed_from,
                steps=a.steps,
                started_at=a.started_at,
                ended_at=a.ended_at,
                last_words=a.stderr_tail,
            )
            for a in repository.attempts(trial.hash)
        ],
        spec=trial.spec.to_dict(),
    )


def trial_text(trial: TrialObject) -> RenderableType:
    """Everything about one trial for a person."""
    head = Table(box=None, show_header=False)
    for key, value in (
        ("hash", trial.hash),
        ("trial", trial.label),
        ("state", trial.state.value),
        ("failure", "" if trial.failure is None else f"{trial.failure}: {trial.error}"),
        ("run by sweep", trial.sweep or ""),
        ("seed", str(trial.seed)),
        ("results version", str(trial.results_version)),
        ("best epoch", f"{trial.best_epoch or ''} of {trial.epochs}"),
        ("validation DSC", _number(trial.val_dsc)),
        ("test DSC", _number(trial.test_dsc)),
        ("parameters", "" if trial.parameters is None else f"{trial.parameters:,}"),
        ("waits for input", wait_words(trial.input_wait, bound=False)),
        ("MLflow run", trial.mlflow_run or ""),
    ):
        if value:
            head.add_row(Text(key, style="bold"), Text(value))
    blocks: list[RenderableType] = [head, Text("")]
    attempts = Table(box=None, header_style="bold", title="attempts", title_justify="left")
    for title in ("#", "state", "host", "device", "from epoch", "steps", "error"):
        attempts.add_column(title)
    for a in trial.attempts:
        state = a.state.value if a.failure is None else f"{a.state}: {a.failure}"
        numbers = str(a.resumed_from), str(a.steps)
        cells = (str(a.number), state, a.host, a.device or "", *numbers, a.error or "")
        attempts.add_row(*map(Text, cells))
    blocks += [attempts, Text("")]
    blocks += [Text(f"last output of attempt {a.number}:\n{a.last_words}") for a in trial.attempts if a.last_words]
    settings = Table(box=None, show_header=False, title="spec", title_justify="left")
    for group, entries in trial.spec.items():
        for key, entry in entries.items() if isinstance(entries, dict) else (("", entries),):
            settings.add_row(Text(f"{group}.{key}".strip(".")), Text(str(entry)))
    blocks.append(settings)
    return Group(*blocks)


_FIXES = {
    FailureKind.LOST: "lost their worker each time; see `sweeper show HASH`",
    FailureKind.OUT_OF_MEMORY: "ran out of memory; a smaller batch or patch, or fewer at once, helps",
    FailureKind.DISK_FULL: "found the disk full; make room",
    FailureKind.TIMED_OUT: "took longer than [resources] of the grid allows; a retry resumes after the last epoch",
    FailureKind.BAD_DATA: "found bad data; `sweeper show HASH` names the file",
    FailureKind.BAD_SETTINGS: "have settings that cannot work; see `sweeper show HASH`",
    FailureKind.BUG: "failed by a bug, perhaps in a plug-in; see `sweeper show HASH`",
}


def _advice(status: SweepStatus, *, alive: bool) -> list[str]:
    """What to do next."""
    name, failures = status.sweep, status.failures
    lines = [f"{failures[kind]} {fix}" for kind, fix in _FIXES.items() if kind in failures]
    if lines:
        lines.append(f"then: sweeper retry {name} --failed")
    if diverged := failures.get(FailureKind.DIVERGED):
        lines.append(f"{diverged} diverged (loss became NaN): a result of that loss, not retried")
    if alive:
        lines.append(f"stop it with: sweeper stop {name}")
    elif status.counts.queued or status.counts.running:
        lines.append(f"nobody is running it; resume it with: sweeper resume {name}")
    elif status.state is SweepState.FINISHED and not lines:
        lines.append(f"report: sweeper report {name}")
    return lines


def next_step(status: SweepStatus | None) -> str:
    """What a person would do next, by how the newest sweep stands; None where there is no sweep yet."""
    if status is None:
        return (
            "Next: no sweep yet. On images of your own: sweeper init FOLDER; on those that come with it: "
            "sweeper launch --grid demo"
        )
    name, alive = status.sweep, status.lease is not None and not status.lease.expired
    if alive:
        return f"Next: {name} is running; watch it: sweeper status {name} --watch"
    if status.counts.queued or status.counts.running:
        return f"Next: {name} is unfinished; resume it: sweeper resume {name}"
    if status.counts.failed:
        return f"Next: {status.counts.failed} trials of {name} have failed; see why: sweeper status {name}"
    return f"Next: {name} has ended; its answers: sweeper report {name}"


def _kinds(counts: Mapping[FailureKind, int]) -> str:
    """`2 lost, 1 out of memory`."""
    return ", ".join(f"{count} {_words(kind)}" for kind, count in Counter(counts).most_common())


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
