"""How each running trial goes, read from the database."""

from __future__ import annotations

from collections.abc import Iterable

from storage.records import Attempt, Trial
from storage.repository import Repository
from sweeper.timing.pace import Liveness, liveness, time_scale
from sweeper.units import duration
from trials.states import AttemptState, TrialState


def running(
    repository: Repository, trials: Iterable[Trial], attempts: Iterable[Attempt], now: float
) -> dict[str, Liveness]:
    """Of each trial that runs, by its hash.

    Args:
        repository: the database, for the seconds of the trials' epochs.
        trials: of the sweep; the finished ones tell how predictions compare with times.
        attempts: of the sweep.
        now: by the database's clock.
    """
    known = {t.hash: t for t in trials}
    scale = time_scale(known.values())
    found = {}
    for attempt in attempts:
        trial = known.get(attempt.trial)
        if attempt.state is AttemptState.RUNNING and trial is not None and trial.state is TrialState.RUNNING:
            own = [e.seconds for e in repository.epochs(trial.hash) if e.epoch > attempt.resumed_from]
            predicted = None if trial.cost is None or scale is None else trial.cost * scale
            found[trial.hash] = liveness(attempt, own, predicted, trial.spec.training.epochs, now)
    return found


def quiet_words(quiet: float, epochs: int | None, *, slow: bool) -> str:
    """`last epoch 12 s ago`, `began 5 min ago, slow`."""
    words = f"{'last epoch' if epochs else 'began'} {duration(quiet)} ago"
    return f"{words}, slow" if slow else words
