"""Fills MLflow's store anew from the database and the spools: complete, and nothing twice.

MLflow holds nothing that is not stored here too. A damaged SQLite store is put aside, a deleted experiment restored;
then everything is sent once more, into the runs that are there, or new ones. A trial without a spool (its
folder was removed, or it was imported) gets one from what the database knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sweeper.run import unpublished
from sweeper.run.lease import LeaseKeeper, refuse_running
from sweeper.run.publishing import EXPERIMENT, provenance, send
from sweeper.run.spools import make_spools
from sweeper.session import Session
from sweeper.study import read_study
from workers.process.child import SPOOL_FILE
from workers.tracking import forget_sent, put_damaged_aside, restore_experiment


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
        make_spools(settings, repository, sweep, provenance(sweep))
        for trial in trials:
            # A trial that several sweeps share is a child of the sweep that ran it.
            if trial.sweep in (None, name) or trial.sweep not in names:
                forget_sent(settings.trials / trial.hash / SPOOL_FILE)
        report = settings.reports / name
        send(session, keeper, read_study(repository, name), report if (report / "report.html").exists() else None)
        unpublished.forget(settings, name)
    return sum((settings.trials / trial.hash / SPOOL_FILE).exists() for trial in trials)
