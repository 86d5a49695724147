"""Fills MLflow's store anew from the database and the spools: complete, and nothing twice.

MLflow holds nothing that is not stored here too. A damaged SQLite store is put aside, a deleted experiment restored;
then everything is sent once more, into the runs that are there, or new ones. A trial without a spool (its
folder was removed, or it was imported) gets one from what the database knows of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from storage.records import Sweep, Trial
from storage.repository import Repository
from sweeper.grids.names import naming_of
from sweeper.run import unpublished
from sweeper.run.lease import LeaseKeeper, refuse_running
from sweeper.run.publishing import EXPERIMENT, provenance, send
from sweeper.session import Session
from sweeper.settings import Settings
from sweeper.study import read_study
from trials.results import Score, TrialResult
from trials.states import FailureKind, TrialState
from workers.process.child import SPOOL_FILE
from workers.tracking import Spool, forget_sent, put_damaged_aside, restore_experiment

NAMES_OF_SCORES = ("trial", "partition", "case", "label", "group")


def rebuild(session: Session, sweep: str | None, say: Callable[[str], None]) -> None:
    """Sends MLflow everything of one sweep, or of all.

    Raises:
        LeaseHeldError: a sweep of this database is running, and its workers use the store.
        TrackingUnavailableError, TrackingInputError: MLflow cannot be reached, or not be used.
    """
    settings, repository = session.settings, session.repository
    everything = [one.name for one in repository.sweeps()]
    for name in everything:
        refuse_running(repository, name)
    aside = put_damaged_aside(settings.mlflow)
    if aside is not None:
        say(f"the damaged store is now {aside}; a new one takes its place")
        for spool in settings.trials.glob(f"*/{SPOOL_FILE}"):  # nothing of any sweep is in the new one
            forget_sent(spool)
    elif restore_experiment(settings.mlflow, EXPERIMENT):
        say(f"the experiment {EXPERIMENT!r} was deleted, and is restored")
    names = everything if sweep is None else [sweep]
    for name in names:
        count = _send_again(session, name, names)
        say(f"{name}: {count} trials are in MLflow")
    if aside is not None and (others := [name for name in everything if name not in names]):
        for name in others:
            unpublished.note(settings, name)
        say(f"not yet in the new store: {', '.join(others)}; send them with: sweeper mlflow rebuild")


def _send_again(session: Session, name: str, names: Sequence[str]) -> int:
    """Sends a sweep from the start; how many of its trials MLflow has then."""
    settings, repository = session.settings, session.repository
    with LeaseKeeper(repository, name, settings.lease_seconds, running=False) as keeper:
        sweep, trials = repository.sweep(name), repository.trials(name)
        _make_missing_spools(settings, repository, sweep, trials)
        for trial in trials:
            # A trial that several sweeps share is a child of the sweep that ran it.
            if trial.sweep in (None, name) or trial.sweep not in names:
                forget_sent(settings.trials / trial.hash / SPOOL_FILE)
        report = settings.reports / name
        send(session, keeper, read_study(repository, name), [report] if (report / "report.html").exists() else [])
        unpublished.forget(settings, name)
    return sum((settings.trials / trial.hash / SPOOL_FILE).exists() for trial in trials)


def _make_missing_spools(settings: Settings, repository: Repository, sweep: Sweep, trials: Sequence[Trial]) -> None:
    lacking = [t for t in trials if t.attempts and not (settings.trials / t.hash / SPOOL_FILE).exists()]
    if not lacking:
        return
    scores, environments = repository.score_columns(sweep.name), repository.environments()
    for trial in naming_of(sweep.grid, trials).labelled(lacking):
        with Spool(settings.trials / trial.hash / SPOOL_FILE) as spool:
            spool.start(
                trial.spec, label=trial.label, sweep=trial.sweep or sweep.name, attempt=trial.attempts,
                provenance=provenance(sweep),
            )  # fmt: skip
            for epoch in repository.epochs(trial.hash):
                spool.epoch(epoch)
            if trial.state is TrialState.FINISHED:
                spool.finish(_result(repository, trial, scores, environments.get(trial.environment or "", {})))
            elif trial.state is TrialState.PRUNED:
                spool.prune(trial.epochs)
            elif trial.state is TrialState.FAILED:
                spool.fail(trial.failure or FailureKind.BUG, trial.error or "")
            else:
                spool.stop(f"{trial.state.value} after epoch {trial.epochs}")


def _result(
    repository: Repository, trial: Trial, columns: Mapping[str, list[Any]], environment: Mapping[str, str]
) -> TrialResult:
    """A finished trial's result as the database has it."""
    history = tuple(repository.epochs(trial.hash))
    metrics = [name for name in columns if name not in NAMES_OF_SCORES]
    scores = tuple(
        Score(
            columns["partition"][row],
            columns["case"][row],
            columns["label"][row],
            {name: columns[name][row] for name in metrics if columns[name][row] is not None},
        )
        for row, owner in enumerate(columns["trial"])
        if owner == trial.hash
    )
    return TrialResult(
        hash=trial.hash,
        scores=scores,
        history=history,
        best_epoch=trial.best_epoch or 0,
        stopped_early=False,
        resumed_from=0,
        steps=sum(epoch.steps for epoch in history),
        parameters=trial.parameters or 0,
        train_seconds=_number(trial.train_seconds),
        evaluate_seconds=_number(trial.evaluate_seconds),
        peak_memory_mib=_number(trial.peak_memory_mib),
        environment=environment,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value
