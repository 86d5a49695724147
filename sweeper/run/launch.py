"""From a grid to a finished sweep: prepare the data, write the sweep down, run it. Where all edges meet."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from storage.errors import NotWritableError, UnknownSweepError
from storage.records import NewTrial, Sweep, Trial
from storage.repository import Repository
from storage.studies import Studies
from sweeper.data import preparation
from sweeper.data.preparation import ReadyDataset
from sweeper.data.resolved import ResolvedGrid, resolve_ready
from sweeper.data.summary import describe
from sweeper.errors import DiskSpaceError
from sweeper.grids.conflicts import (
    refuse_another_grid,
    refuse_another_search,
    unprepared,
    unprepared_hash,
    with_asked_metrics,
)
from sweeper.grids.details import DatasetDetails, SweepDetails, details_of
from sweeper.grids.expansion import metrics_of, swept_variants
from sweeper.grids.files import parse_grid
from sweeper.grids.plugged import load_plugins, refuse_inert
from sweeper.grids.schema import Grid
from sweeper.logs import about
from sweeper.run import reserve, unpublished
from sweeper.run.alerts import alerting, check_target
from sweeper.run.coordinator import Coordinator, EndedAtOnce, Work
from sweeper.run.lease import LeaseKeeper, refuse_running
from sweeper.run.limits import limits_of
from sweeper.run.progress import display
from sweeper.run.publishing import EXPERIMENT, parent_run, provenance
from sweeper.run.signals import Lasting, signals
from sweeper.run.spools import end_spools, sources_of
from sweeper.run.takeover import take_over, to_take_over, trained_here
from sweeper.run.upkeep import finish_changes
from sweeper.search.adaptive import Adaptive, Search
from sweeper.search.space import family
from sweeper.services import check_services
from sweeper.session import Session
from sweeper.settings import Settings
from sweeper.timing.costs import CostModel
from sweeper.timing.measured import measured_costs
from sweeper.units import size
from trials.messages import NO_GPU, Needs, PluginSource, Tracking
from trials.spec import TrialSpec, is_external
from trials.states import SweepState, TrialState
from workers.files import is_disk_full
from workers.process.early import started_early

if TYPE_CHECKING:
    from workers.tracking import SweepTracker

UNFINISHED = (TrialState.QUEUED, TrialState.RUNNING, TrialState.PRUNED)
"""What a fixed grid still has to train; its pruned trials are those that another sweep's search gave up."""

BYTES_PER_PARAMETER = 4
CHECKPOINT_COPIES = 5
"""At most two epochs' files and three best ones: what a running trial keeps (`workers.training.checkpoints`). With
`training.momentum` each holds as much again."""


@dataclass(frozen=True, slots=True)
class Created:
    """A sweep that was written down, and its grid with prepared data."""

    sweep: Sweep
    grid: ResolvedGrid


def create(session: Session, asked: ResolvedGrid, plugins: Sequence[PluginSource], *, extend: bool = False) -> Created:
    """Prepares the grid's data and writes the sweep with its trials down. Repeating it changes nothing.

    Raises:
        MissingDataError, DataError: data sets are missing or damaged.
        SweepConflictError: a sweep of that name has other trials.
        DiskSpaceError: the sweep would not fit.
    """
    repository, grid = session.repository, asked.grid
    check_name_and_space(session.settings, repository, asked, extend=extend)
    ready = preparation.prepare(
        grid, session.settings, preparation_line(session.console), damaged=damage_line(session.console)
    )
    say_warnings(session.console, ready)
    resolved = asked.with_data(ready)
    before = stored_sweep(repository, grid.name)  # anew: to prepare data may have taken hours
    searches = resolved.searches(before.studies)
    listed, suggested = _apart(before.trials, searches, resolved.specs)
    refuse_another_grid(grid.name, listed, resolved.specs, resolved.naming, extend=extend)
    details = _details(before, grid.name, describe(ready), plugins, searches, extend=extend)
    rows = new_trials(resolved, measured_costs(repository), before.studies)
    sweep = repository.create_sweep(
        grid.name,
        grid=grid.to_dict(),
        # No grid has what a search suggested, nor masks that were scored.
        trials=[*rows, *(NewTrial.again(t) for t in before.trials if t in suggested or is_external(t.spec))],
        rehearsal=grid.rehearsal,
        description=grid.description.strip(),
        details=details.to_dict(),
        extend=extend,
    )
    if (wanted := with_asked_metrics(sweep.grid, grid.to_dict())) != sweep.grid:
        with LeaseKeeper(repository, grid.name, session.settings.lease_seconds, running=False) as keeper:
            keeper.write(repository.set_grid, wanted)
        sweep = repository.sweep(grid.name)
    for one in ready.values():
        for split in one.different_splits:
            repository.save_split(one.prepared.name, one.prepared.key, split)
    return Created(sweep, resolved)


def check_services_and_data(resolved: ResolvedGrid, settings: Settings) -> None:
    """Finds whatever is wrong with the data's places and the servers, before anything is written.

    Raises:
        MissingDataError, DataError: data sets are missing, or not laid out as they should be.
        RayUnavailableError, SettingsError: a server does not answer, or whoever is to be told of the end cannot be.
    """
    check_target(settings.notify)
    if not resolved.grid.rehearsal:
        preparation.locate_all(resolved.grid, settings)
    check_services(settings)


@dataclass(frozen=True, slots=True)
class StoredSweep:
    """What the database has of the sweep that has a grid's name; `details` is None where there is no such sweep."""

    details: SweepDetails | None
    trials: list[Trial]

    @property
    def studies(self) -> frozenset[str]:
        """The names of its Optuna studies."""
        searches = () if self.details is None else self.details.searches
        return frozenset(searches) | {t.study for t in self.trials if t.study is not None}


def stored_sweep(repository: Repository, name: str) -> StoredSweep:
    """See `StoredSweep`."""
    try:
        return StoredSweep(details_of(repository.sweep(name)), repository.trials(name))
    except UnknownSweepError:
        return StoredSweep(None, [])


def check_name_and_space(
    settings: Settings, repository: Repository, resolved: ResolvedGrid, *, extend: bool
) -> StoredSweep:
    """Refuses what can be refused without preparing data, which may take hours; gives what is stored of the sweep.

    Raises:
        SweepConflictError: a sweep of that name has other trials.
        DiskSpaceError: the sweep would not fit.
    """
    before = stored_sweep(repository, resolved.grid.name)
    searches = resolved.searches(before.studies)
    listed, suggested = _apart(before.trials, searches, resolved.specs, bare=True)
    refuse_another_grid(resolved.grid.name, listed, resolved.specs, resolved.naming, extend=extend, key=unprepared_hash)
    done = {unprepared_hash(t.spec) for t in before.trials if t.state is TrialState.FINISHED}
    new = [spec for spec in resolved.specs if unprepared_hash(spec) not in done]
    searched = searched_specs(searches)[len(suggested) :]
    prepared = sum(one.bytes for one in resolved.datasets.values())
    _check_space(settings, predicted_bytes([*new, *searched]) + prepared)
    return before


def _details(
    before: StoredSweep,
    name: str,
    data_sets: Mapping[str, DatasetDetails],
    plugins: Sequence[PluginSource],
    searches: Sequence[Search],
    *,
    extend: bool,
) -> SweepDetails:
    """What a sweep remembers of its data, plug-ins and searches: of one that grows, the former ones as well.

    Raises:
        SweepConflictError: the sweep exists with other searches.
    """
    wanted = {search.name: search.details for search in searches}
    known = before.details or SweepDetails()
    refuse_another_search(name, None if before.details is None else known.searches, wanted, extend=extend)
    sources = {plugin.source for plugin in known.plugins}
    return replace(
        known,
        data={**known.data, **data_sets},
        plugins=(*known.plugins, *(plugin for plugin in plugins if plugin.source not in sources)),
        searches=wanted,
        allowed=tuple(dict.fromkeys((*known.allowed, *(plugin.source for plugin in plugins)))),
    )


def _apart(
    known: Sequence[Trial], searches: Sequence[Search], specs: Sequence[TrialSpec], *, bare: bool = False
) -> tuple[list[Trial], list[Trial]]:
    """A sweep's trials that a grid lists or should list, and those that its searches suggested.

    `bare` compares without what only preparation tells, since it is not known of all data sets yet.
    """

    def form(spec: TrialSpec) -> TrialSpec:
        return unprepared(spec) if bare else spec

    listed: list[Trial] = []
    suggested: list[Trial] = []
    wanted = {form(spec).hash for spec in specs}
    families = {(s.name, s.cell.names): family(form(s.cell.template), s.cell.names) for s in searches}
    for trial in known:
        spec = form(trial.spec)
        ours = any(name == trial.study and family(spec, names) == of for (name, names), of in families.items())
        (suggested if ours and spec.hash not in wanted else listed).append(trial)
    return listed, suggested


def searched_specs(searches: Sequence[Search]) -> list[TrialSpec]:
    """As many specs as the searches may train, for what they will cost: the templates, once for each."""
    return [s.cell.template for s in searches for _ in range(s.budget * len(s.cell.seeds))]


def new_trials(resolved: ResolvedGrid, costs: CostModel, known: Collection[str] = ()) -> list[NewTrial]:
    """The rows of the trials that a grid lists. `known`: the Optuna studies that the sweep has already."""
    swept = swept_variants(resolved.specs, resolved.naming)
    return [
        new_trial(
            resolved,
            spec,
            costs,
            resolved.study(spec, known) if (spec.data.dataset, resolved.naming.variant(spec)) in swept else None,
        )
        for spec in resolved.specs
    ]


def new_trial(resolved: ResolvedGrid, spec: TrialSpec, costs: CostModel, study: str | None) -> NewTrial:
    """The row of a cell, which the grid lists or its search suggested, in the Optuna study of that name."""
    return NewTrial(
        hash=spec.hash,
        spec=spec,
        label=resolved.naming.label(spec),
        dataset=spec.data.dataset,
        loss=spec.loss.name,
        gamma=spec.loss.gamma if study is not None else None,
        repeat=spec.repeat,
        seed=spec.seed,
        results_version=spec.results_version,
        study=study,
        cost=costs.seconds(spec, *resolved.size(spec)),
    )


def run(
    session: Session,
    sweep_name: str,
    *,
    limit: int | None = None,
    until: float | None = None,
    prepared: ResolvedGrid | None = None,
) -> bool:
    """Runs what is not finished of a sweep, and reports to MLflow. Prints what happens.

    Args:
        session: settings, the database and a console.
        sweep_name: the sweep's.
        limit: at most so many trials are started.
        until: when to end, in seconds since 1970; None: where the last coordinator was killed or handed over, as it.
        prepared: the sweep's grid with its data, where the same command has them; None: they are looked for.

    Returns:
        Whether there was anything to run.

    Raises:
        LeaseHeldError: another coordinator is running the sweep.
        RayUnavailableError: no Ray to run it on.
        PluginError: the sweep was imported with code that may not run here.
    """
    settings, repository, console = session.settings, session.repository, session.console
    for line in finish_changes(settings, repository):  # a rename that MLflow has not heard of would make a second run
        _plain(console)(line)
    sweep = repository.sweep(sweep_name)
    trials = repository.trials(sweep_name)
    refuse_inert(sweep)
    details = details_of(sweep)
    load_plugins(sweep, ("samplers", "pruners"))
    if prepared is not None and prepared.grid.to_dict() != sweep.grid:
        prepared = None  # the sweep was there already, with other resources, say: it keeps its own
    grid = parse_grid(sweep.grid, sweep_name) if prepared is None else prepared.grid
    fixed = grid.search is None
    open_trials = [t for t in trials if t.state in UNFINISHED and trained_here(t)] + to_take_over(trials, fixed=fixed)
    if fixed and not open_trials:
        # All may be shared with other sweeps, or the coordinator was killed between its last two steps.
        with Studies(repository.database) as studies:
            studies.record_finished(trials)
        if sweep.state in (SweepState.QUEUED, SweepState.RUNNING):
            with LeaseKeeper(repository, sweep_name, settings.lease_seconds, running=False) as keeper:
                keeper.write(repository.set_sweep_state, SweepState.FINISHED)
        _fill(session, grid)
        _plain(console)(f"nothing to train: {_all_done(trials)}")
        return False
    refuse_running(repository, sweep_name)  # the lease says so, too, but only after the data were looked at
    load_plugins(sweep, ("datasets", "metrics"))
    if prepared is None:
        keys = {name: one.prepared for name, one in details.data.items()}
        splits = {name: one.split_hash for name, one in details.data.items()}
        ready = preparation.prepare(
            grid,
            settings,
            preparation_line(console),
            keys=keys,
            splits=splits,
            damaged=damage_line(console),
        )
        # Only a search makes trials anew. Stored ones are whole, also where their loss's file is not here any more.
        prepared = None if fixed else resolve_ready(grid, ready)
    if not fixed:
        with Studies(repository.database) as studies:
            adaptive = _adaptive(session, prepared, studies)
            if adaptive is not None and adaptive.finished(trials):
                adaptive.ended(trials)
                _fill(session, grid)
                _plain(console)(f"nothing to train: {_all_done(trials)}")
                return False
    if until is None and sweep.state is SweepState.RUNNING:
        until = unpublished.until(settings, sweep_name)
        until = until if until is not None and until > time.time() else None  # whoever resumes later wants it to run
    with (
        signals(sweep_name) as ending,
        LeaseKeeper(repository, sweep_name, settings.lease_seconds) as keeper,
        ThreadPoolExecutor(1, "mlflow") as aside,
        started_early(_needs_first(settings, grid, open_trials)) as early,
    ):
        # Not before the first training process is on its way: with Ray these take another second.
        from sweeper.run.ray_cluster import ray_cluster, resources_of, slots
        from sweeper.run.ray_tune import execute

        reserve.keep(repository.database)
        for line in take_over(repository, keeper, trials, fixed=fixed):
            _plain(console)(line)
        unpublished.start(settings, sweep_name, unpublished.StartedRun(keeper.since, limit, until))
        # A new MLflow store takes as many seconds as Ray's start, which waits for other processes.
        cut_short = end_spools(settings, repository.trials(sweep_name))  # before their next attempts write to them
        tracked = aside.submit(_track, session, sweep, cut_short)
        cut_off: list[str] = []
        with ray_cluster(settings.ray_address), Studies(repository.database) as studies:
            # Before Optuna is used: it makes its tables by the same library, which knows one database at a time.
            parent = _parent(tracked, _plain(console))
            if parent:
                keeper.write(repository.set_mlflow_run, parent)
            adaptive = _adaptive(session, prepared, studies)
            if adaptive is not None:
                adaptive.describe()
            studies.record_finished([t for t in trials if adaptive is None or adaptive.search_of(t) is None])
            resources = {d.name: resources_of(grid.trial_resources(d.name)) for d in grid.datasets}
            with (
                about(sweep=sweep_name),
                display(console, max(slots(one) for one in resources.values())) as shown,
            ):
                coordinator = Coordinator(
                    repository,
                    sweep,
                    keeper,
                    studies=studies,
                    work=Work(
                        prepared_root=settings.prepared,
                        trials=settings.trials,
                        plugins=details.runnable,
                        pictures={d.name: d.pictures for d in grid.datasets},
                        provenance=provenance(sweep),
                        revision=revision(),
                        metrics={d.name: metrics_of(grid, d) for d in grid.datasets},
                        sources=sources_of(sweep),
                    ),
                    observer=Lasting(shown, ending),
                    limit=limit,
                    adaptive=adaptive,
                    until=until,
                )
                ending.use(coordinator)
                with alerting(coordinator, settings.notify, settings.stall_seconds, _plain(console)):
                    failed = True  # for example by an error of Ray's, whose head node was lost
                    try:
                        execute(
                            coordinator,
                            tracking=Tracking(settings.mlflow, EXPERIMENT, parent),
                            logs=settings.logs,
                            resources=resources,
                            limits={d.name: limits_of(grid.trial_resources(d.name)) for d in grid.datasets},
                            early=early,
                        )
                        failed = False
                    except EndedAtOnce:
                        pass
                    except (NotWritableError, OSError) as error:
                        if isinstance(error, OSError) and not is_disk_full(error):
                            raise
                        reserve.give_up(repository.database)
                        coordinator.halt(error)
                    finally:
                        cut_off += coordinator.running
                        coordinator.close(failed=failed)
        end_spools(settings, [t for t in repository.trials(sweep_name) if t.hash in cut_off])
    if repository.sweep(sweep_name).state is SweepState.FINISHED:
        _fill(session, grid)
    return True


def _needs_first(settings: Settings, grid: Grid, trials: Sequence[Trial]) -> Needs | None:
    """What the first trial's training process needs; None where another machine may train it, or a GPU."""
    if settings.ray_address or not trials:
        return None
    first = max(trials, key=lambda trial: trial.cost or 0.0)  # the coordinator claims the longest first
    gpus = grid.trial_resources(first.dataset).gpus
    if gpus or (gpus is None and any(Path("/dev").glob("nvidia[0-9]*"))):
        return None
    training = first.spec.training
    return Needs(training.threads, deterministic=training.deterministic, devices=NO_GPU)


def _track(session: Session, sweep: Sweep, cut_short: Sequence[Path]) -> SweepTracker:
    """The sweep's run in MLflow; under it those of trials that a killed coordinator left behind end now."""
    from workers.tracking import replay

    tracker = parent_run(session, sweep)
    for spool in cut_short:
        replay(spool, session.settings.mlflow, experiment=EXPERIMENT, parent_run=tracker.run_id)
    return tracker


def _parent(tracked: Future[SweepTracker], say: Callable[[str], None]) -> str:
    """The sweep's run in MLflow. Without one, where the store is damaged, it trains nevertheless: the spools wait."""
    from workers.tracking import TrackingDamagedError

    try:
        return tracked.result().run_id
    except TrackingDamagedError as error:
        say(f"{error} (once this sweep has ended; until then nothing of it is in MLflow, and nothing is lost)")
        return ""


def _fill(session: Session, grid: Grid) -> None:
    """Adds metrics that the grid asks for to the scores of trials that were finished before it did."""
    if any(metrics_of(grid, dataset) for dataset in grid.used_datasets):
        from sweeper.run.filling import fill  # with SciPy and nibabel: a second in which nothing trains

        fill(session, grid.name)


def _adaptive(session: Session, resolved: ResolvedGrid | None, studies: Studies) -> Adaptive | None:
    """The searches of a grid whose data are ready; None where it has no `search`."""
    if resolved is None:
        return None
    repository = session.repository
    searches = resolved.searches(stored_sweep(repository, resolved.grid.name).studies)
    if not searches:
        return None
    costs = measured_costs(repository)
    return Adaptive(
        repository,
        studies,
        searches,
        fixed=frozenset(spec.hash for spec in resolved.specs),
        make_trial=lambda spec, study: new_trial(resolved, spec, costs, study),
    )


def _plain(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, markup=False, highlight=False)


def preparation_line(console: Console) -> preparation.Progress:
    """Prints how far preparations are: a line for each tenth of a large data set, and one at the end."""

    def line(dataset: str, done: int, total: int, case: str) -> None:
        if done == total or (total >= 100 and done % (total // 10) == 0):
            console.print(f"prepared {dataset}: {done} of {total} cases", markup=False, highlight=False)

    return line


def damage_line(console: Console) -> preparation.Damaged:
    """Prints what is wrong with prepared data that are prepared anew."""
    return lambda text: console.print(
        f"{text.partition('; run ')[0]}; prepared anew", markup=False, highlight=False, soft_wrap=True
    )


def say_warnings(console: Console, ready: Mapping[str, ReadyDataset]) -> None:
    """Prints what a person should know of the classes of prepared data before anything is trained."""
    for name, one in ready.items():
        for text in one.warnings:
            console.print(f"warning: {name}: {text}", markup=False, highlight=False, soft_wrap=True)


def _check_space(settings: Settings, needed: int) -> None:
    free = shutil.disk_usage(settings.home).free
    if needed > free:
        raise DiskSpaceError(
            f"the sweep needs about {size(needed)} in {settings.home}, {size(free)} are free; make room, "
            "or set SWEEPER_HOME to a larger disk"
        )


def predicted_bytes(specs: Sequence[TrialSpec]) -> int:
    """Disk space of trials: the model that stays of each, and the checkpoints of the largest while they run."""
    sizes = [BYTES_PER_PARAMETER * _parameters(spec) for spec in specs]
    return 2 * sum(sizes) + 16 * CHECKPOINT_COPIES * max(sizes, default=0)


def _parameters(spec: TrialSpec) -> int:
    """About how many parameters a U-Net has: its deepest level holds most of them."""
    kernel = 3**spec.data.dimensions
    return int(2 * kernel * (spec.model.base_filters * 2**spec.model.depth) ** 2 * 1.6)


def revision() -> str:
    """The program's git revision, with `-dirty` where files differ from it; its version where it is no checkout."""
    here = Path(__file__).parents[2]
    if (here / ".git").exists() and shutil.which("git"):
        command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return f"version {version('sweeper')}"


def _all_done(trials: Sequence[Trial]) -> str:
    finished = sum(t.state is TrialState.FINISHED for t in trials)
    if finished == len(trials):
        return f"all {finished} trials are finished"
    failed = sum(t.state is TrialState.FAILED for t in trials)
    pruned = sum(t.state is TrialState.PRUNED for t in trials)
    parts = [f"{finished} of {len(trials)} trials are finished"]
    if pruned:
        parts.append(f"{pruned} were pruned by their search")
    if finished + pruned < len(trials):
        parts.append(f"{failed or 'the others'} have failed; `sweeper retry --failed` queues them")
    return ", ".join(parts)
