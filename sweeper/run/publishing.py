"""What follows a sweep: its report, and sending MLflow what it lacks. Both may be repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from storage.errors import LeaseHeldError, NotWritableError
from storage.records import Sweep, Trial
from sweeper.errors import GridError
from sweeper.grids.details import details_of
from sweeper.run import unpublished
from sweeper.run.lease import LeaseKeeper
from sweeper.run.spools import complete_spools, sources_of, spool_of
from sweeper.session import Session
from trials.addresses import hide_password
from trials.places import below
from trials.states import SweepState, TrialState
from workers.timers import unless_ended
from workers.tracking.records import Dataset

if TYPE_CHECKING:
    from sweeper.study import Study
    from workers.tracking import SweepTracker

EXPERIMENT = "sweeper"
"""The MLflow experiment that holds all sweeps."""
_STARTED_SECONDS = 15.0
"""After so long the first training processes have started, which wait for every core."""


@dataclass(frozen=True, slots=True)
class Published:
    """What stands at the end of a sweep: the report's files, the page first, the study that they show, and the address
    of its trials in MLflow's page, where a server has one."""

    files: list[Path]
    study: Study
    mlflow: str = ""


@contextmanager
def report_prepared() -> Iterator[None]:
    """Does what the report needs and no trial changes while trials train: at the end it would be two seconds."""

    def needed() -> None:
        import_module("sweeper.study")
        with suppress(Exception):  # whatever fails here fails again in the report, which tells it
            _writer().get_ready()

    with unless_ended(_STARTED_SECONDS, needed):
        yield


def finish(session: Session, sweep_name: str) -> Published:
    """Writes the report, on disk and into MLflow, which is sent what it lacks."""
    folder = below(session.settings.reports, sweep_name)
    published = report(session, sweep_name, folder)
    return replace(published, mlflow=publish(session, published.study, folder))


def report(session: Session, sweep_name: str, out: Path, formats: Sequence[str] = ("html",)) -> Published:
    """Writes the report with the installed package that offers one (`dashboards` does)."""
    from sweeper.study import read_study  # with the analysis and SciPy: see `report_prepared`

    writer = _writer()
    study = read_study(session.repository, sweep_name)
    files: list[Path] = writer.write(session.settings, session.repository, study, out, tuple(formats))
    return Published(files, study)


def report_scores(file: Path, out: Path, formats: Sequence[str] = ("html",)) -> list[Path]:
    """Writes the report of scores that were made elsewhere, with the same package."""
    files: list[Path] = _writer().write_scores(file, out, tuple(formats))
    return files


def draw_loss(name: str, curves: Mapping[str, Sequence[float]], out: Path) -> list[Path]:
    """Writes the figure of a loss's curves (`workers.losses.curves`) into a folder, with the same package."""
    files: list[Path] = _writer().draw_loss(name, curves, out)
    return files


def _writer() -> ModuleType:
    """The module that the installed package names: it has `write`, `write_scores`, `draw_loss` and `get_ready`."""
    offers = entry_points(group="sweeper.reports")
    if not offers:
        raise GridError("no package offers a report: install sweeper with its package `dashboards`")
    return import_module(next(iter(offers)).module)


def publish(session: Session, study: Study, report: Path | None) -> str:
    """Completes what MLflow has of a sweep: what is left in the spools, the report, and the best model per data set.

    Holds the sweep's lease meanwhile; a coordinator that holds it does the same at its end. An unreachable MLflow is a
    line on the console: the spools keep what it lacks, and the sweep's note (`sweeper.run.unpublished`) stays.

    Returns:
        The address of the sweep's trials in MLflow's page; empty without a server, or where it could not be reached.
    """
    from workers.tracking import TrackingDamagedError, TrackingUnavailableError

    settings, sweep_name = session.settings, study.sweep.name
    try:
        with LeaseKeeper(session.repository, sweep_name, settings.lease_seconds, running=False) as keeper:
            unpublished.note(settings, sweep_name)
            page = send(session, keeper, study, report)
            if session.repository.sweep(sweep_name).state is not SweepState.RUNNING:
                unpublished.forget(settings, sweep_name)
            return page
    except LeaseHeldError:
        pass
    except TrackingDamagedError as error:
        session.console.print(str(error), markup=False)
    except (TrackingUnavailableError, NotWritableError) as error:
        session.console.print(
            f"{error}; `sweeper serve` sends later what MLflow lacks, and so does: sweeper resume {sweep_name}",
            markup=False,
        )
    return ""


def send(session: Session, keeper: LeaseKeeper, study: Study, report: Path | None) -> str:
    """Sends MLflow what it lacks of a sweep that this process holds.

    Returns:
        The address of the sweep's trials in MLflow's page; empty without a server.

    Raises:
        TrackingUnavailableError, TrackingInputError: it could not be sent.
    """
    from sweeper.run.model_card import model_cards  # with the analysis
    from sweeper.run.ranking import ranking, ranking_metrics, said
    from workers.tracking import replay, run_id

    settings, sweep = session.settings, session.repository.sweep(keeper.sweep)
    trials = session.repository.trials(sweep.name)
    tracker = parent_run(session, sweep)
    if tracker.run_id != sweep.mlflow_run:
        keeper.write(session.repository.set_mlflow_run, tracker.run_id)
    complete_spools(settings, session.repository, sweep.name)
    for trial in trials:
        spool = spool_of(settings, trial.hash)
        replay(spool, settings.mlflow, experiment=EXPERIMENT, parent_run=tracker.run_id, strict=True)
        # MLflow was unreachable when the trial ended, or it lost the run, and the spool went into a new one.
        if (run := run_id(spool)) and run != trial.mlflow_run:
            keeper.write(session.repository.set_mlflow_run, run, trial=trial.hash)
    rows, states = ranking(study.answers), Counter(trial.state for trial in trials)
    tracker.answer(said(study), rows, report)
    tracker.metrics({**ranking_metrics(rows), **{f"trials/{state}": states[state] for state in TrialState}})
    best = study.answers.best_models
    tracker.register_best(best, descriptions=model_cards(study, best))
    tracker.finish(sweep.state)
    base = settings.mlflow_url or hide_password(settings.mlflow)
    return tracker.page(base) if base.startswith(("http://", "https://")) else ""


def parent_run(session: Session, sweep: Sweep) -> SweepTracker:
    """The sweep's own run in MLflow, made where it is missing."""
    from workers.tracking import SweepTracker

    settings = session.settings
    tracker = SweepTracker(settings.mlflow, sweep.name, experiment=EXPERIMENT, artifact_root=settings.artifacts)
    trials = session.repository.trials(sweep.name)
    tracker.start(
        datasets=Counter(trial.dataset for trial in trials),
        inputs=_inputs(trials, sources_of(sweep)),
        provenance=provenance(sweep),
        description=sweep.description,
    )
    return tracker


def _inputs(trials: Sequence[Trial], sources: Mapping[str, str]) -> list[Dataset]:
    """The data sets of a sweep, each prepared form once; with its split where all trials have the same."""
    splits: dict[tuple[str, str], set[str]] = {}
    for trial in trials:
        splits.setdefault((trial.dataset, trial.spec.data.prepared), set()).add(trial.spec.data.split)
    return [
        Dataset(name, key or "unprepared", split.pop() if len(split) == 1 else "", source=sources.get(name, ""))
        for (name, key), split in splits.items()
    ]


def provenance(sweep: Sweep) -> str:
    """`rehearsal`, `synthetic` or `real`: what every run of the sweep is marked with."""
    if sweep.rehearsal:
        return "rehearsal"
    kinds = {one.provenance for one in details_of(sweep).data.values()}
    return "synthetic" if "synthetic" in kinds else "real"
