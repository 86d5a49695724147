"""A sweep that another version of the program began, taken over in its middle.

Where that version computes the same numbers (`results_version`), there is nothing to do: its trials go on, also from
their checkpoints. Where it does not, a trial that has not finished is ended, and the same cell is trained by this
version, as a trial of its own hash and folder. What has finished stays, is shown as outdated, and enters no statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from storage.records import NewTrial, Trial
from storage.repository import Repository
from sweeper.run.lease import LeaseKeeper
from trials.spec import RESULTS_VERSION, is_external
from trials.states import TrialState

OPEN = (TrialState.QUEUED, TrialState.RUNNING)


def trained_here(trial: Trial) -> bool:
    """Whether this version of the program may train a trial: its numbers would be those of the version that it says."""
    return trial.results_version == RESULTS_VERSION


def take_over(repository: Repository, keeper: LeaseKeeper, trials: Sequence[Trial]) -> list[str]:
    """Puts trials of this results version in the place of those of another one that are queued, or that a killed
    coordinator has left running. Doing it again changes nothing.

    Args:
        repository: the database.
        keeper: the lease of the sweep.
        trials: of the sweep.

    Returns:
        What a person should know; nothing where all trials are of this version.

    Raises:
        LeaseLostError: another coordinator has taken the sweep over.
    """
    others = [t for t in trials if not trained_here(t) and not is_external(t.spec)]
    unfinished = [t for t in others if t.state in OPEN]
    keeper.write(repository.add_trials, [_anew(trial) for trial in unfinished])
    ended = [trial for trial in unfinished if _end(repository, keeper, trial)]
    known = {t.spec.hash for t in trials}
    outdated = sum(t.state is TrialState.FINISHED and _anew(t).hash not in known for t in others)
    lines = []
    if ended:
        versions, several = ", ".join(sorted({str(trial.results_version) for trial in ended})), len(ended) > 1
        lines.append(
            f"{len(ended)} trial{'s' if several else ''} of results version {versions} had not finished; "
            f"{'they are' if several else 'it is'} trained by version {RESULTS_VERSION}, from the first epoch"
        )
    if outdated:
        have, stay, them = ("trials have", "stay", "them") if outdated > 1 else ("trial has", "stays", "it")
        lines.append(
            f"{outdated} {have} results of another version and {stay}, marked as outdated; "
            f"to train {them} by version {RESULTS_VERSION}, too, launch the grid again with --extend"
        )
    return lines


def _anew(trial: Trial) -> NewTrial:
    """The same cell by this version."""
    spec = replace(trial.spec, results_version=RESULTS_VERSION)
    return NewTrial(
        hash=spec.hash,
        spec=spec,
        label=trial.label,
        dataset=trial.dataset,
        loss=trial.loss,
        gamma=trial.gamma,
        repeat=trial.repeat,
        seed=trial.seed,
        results_version=RESULTS_VERSION,
        study=trial.study,
        cost=trial.cost,
    )


def _end(repository: Repository, keeper: LeaseKeeper, trial: Trial) -> bool:
    """Ends an open trial for good; False where another sweep runs it."""
    attempt = keeper.write(repository.claim, trial.hash)
    if attempt is not None:
        keeper.write(repository.stop_attempt, attempt.id, requeue=False)
    return attempt is not None
