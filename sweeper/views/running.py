"""How each running trial goes, read from the database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from storage.records import Attempt, Trial
from storage.repository import Repository
from sweeper.timing.pace import Liveness, liveness, time_scale
from sweeper.units import duration
from trials.input_wait import ADVICE, INPUT_BOUND, input_wait
from trials.states import AttemptState, TrialState


def running(
    repository: Repository, trials: Iterable[Trial], attempts: Iterable[Attempt], now: float
) -> dict[str, Liveness]:
    """Of each trial that runs, by its hash.

    Args:
        repository: the database, for the trials' epochs.
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
            planned = trial.spec.training.epochs
            own = [epoch for epoch in repository.epochs(trial.hash) if epoch.epoch > attempt.resumed_from]
            predicted = None if trial.cost is None or scale is None else trial.cost * scale
            alive = liveness(attempt, [epoch.seconds for epoch in own], predicted, planned, now)
            found[trial.hash] = replace(alive, wait=input_wait(own, planned))
    return found


def quiet_words(quiet: float, epochs: int | None, *, slow: bool) -> str:
    """`last epoch 12 s ago`, `began 5 min ago, slow`."""
    words = f"{'last epoch' if epochs else 'began'} {duration(quiet)} ago"
    return f"{words}, slow" if slow else words


def wait_words(share: float | None, *, bound: bool) -> str:
    """`3%`, `41%, input-bound`; nothing where it was not measured."""
    if share is None:
        return ""
    return f"{share:.0%}, input-bound" if bound else f"{share:.0%}"


def input_bound_words(count: int) -> str:
    """What a person is told of trials that wait for their input."""
    who = "1 running trial waits for its batches" if count == 1 else f"{count:,} running trials wait for their batches"
    return f"input-bound: {who} for more than {INPUT_BOUND:.0%} of the time; {ADVICE}"
